"""Describe what a package `guard_agent` offers: names, signatures, defaults, fields. Facts only, found by importing it.

The same description is taken of the released package (by `read_released.py`, into `released.json`) and of ours (by
`test_names.py`), so that one piece of code describes both.
"""

import importlib
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

PACKAGE = "guard_agent"
# The public modules of the released package; those with a leading underscore are its own business.
MODULES = (
    "buffer",
    "client",
    "encryption",
    "exceptions",
    "install_id",
    "logging_utils",
    "models",
    "protocols",
    "signing",
    "transport",
    "utils",
    "_version",
)


def describe_package() -> dict[str, Any]:
    """Return version, `__all__`, and per module the facts of each public name that is defined in it."""
    root = importlib.import_module(PACKAGE)
    return {
        "version": root.__version__,
        "all": sorted(root.__all__),
        "modules": {name: describe_module(name) for name in MODULES},
    }


def describe_module(name: str) -> dict[str, Any]:
    """Return the facts of every public name that one module defines; what it only imports is no offer of its own."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    facts: dict[str, Any] = {}
    for public, value in sorted(vars(module).items()):
        if public.startswith("_") or public.endswith("Mixin") or inspect.ismodule(value):
            continue
        home = getattr(value, "__module__", None)
        if home == f"{PACKAGE}.{name}" or (home is None and public.isupper()):
            facts[public] = describe(value)
    return facts


def describe(value: Any) -> dict[str, Any]:
    """Return the facts of a function, a class or a constant."""
    if not inspect.isclass(value) and not inspect.isroutine(value):
        return {"kind": "constant", "value": _plain(value)}
    if not inspect.isclass(value):
        return {
            "kind": "function",
            "async": inspect.iscoroutinefunction(value),
            "parameters": _parameters(value),
        }
    fields = getattr(value, "model_fields", None)
    if fields is not None:
        return {
            "kind": "model",
            "config": {key: str(setting) for key, setting in sorted(value.__dict__["model_config"].items())},
            "fields": {name: _field(field) for name, field in fields.items()},
        }
    facts: dict[str, Any] = {"kind": "class", "bases": [base.__name__ for base in value.__mro__[1:-1]]}
    if getattr(value, "_is_protocol", False):
        facts |= {
            "kind": "protocol",
            "runtime_checkable": bool(getattr(value, "_is_runtime_protocol", False)),
        }
    elif any("__init__" in vars(base) for base in value.__mro__ if base.__module__.startswith(PACKAGE)):
        facts["parameters"] = _parameters(value.__init__)
    return facts | {"methods": _methods(value)}


def _methods(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items() if base.__module__.startswith(PACKAGE) else ():
            if not name.startswith("_") and inspect.isroutine(value):
                found[name] = describe(value)
    return dict(sorted(found.items()))


def _parameters(value: Any) -> list[dict[str, Any]]:
    return [
        {"name": parameter.name, "kind": parameter.kind.name}
        | ({} if parameter.default is parameter.empty else {"default": _plain(parameter.default)})
        for parameter in inspect.signature(value).parameters.values()
        if parameter.name not in {"self", "cls"}
    ]


def _field(field: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": _type_name(field.annotation), "required": field.is_required()}
    if not field.is_required():
        made = field.get_default(call_default_factory=True)
        facts["default"] = _plain(made) if field.default_factory is None else _made(made)
    limits = {
        key: getattr(rule, key)
        for rule in field.metadata
        for key in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
        if getattr(rule, key, None) is not None
    }
    return facts | ({"limits": limits} if limits else {})


def _made(value: Any) -> Any:
    """Return what a default factory made, or only its type where each call makes another."""
    return (
        sorted(value)
        if isinstance(value, (list, set))
        else value
        if value == {}
        else f"<{type(value).__name__}>"
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return (
        {str(key): _plain(entry) for key, entry in value.items()}
        if isinstance(value, Mapping)
        else repr(value)
    )


def _type_name(annotation: Any) -> str:
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        return str(annotation.__name__)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", str(annotation))
