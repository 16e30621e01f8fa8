"""Describe what a package `guard_agent` offers: names, signatures, defaults, fields. Facts only, found by importing it.

The same description is taken of the released package (by `read_released.py`, into `released-3.2.4.json`) and of ours
(by `test_names.py`), so that both are described by one piece of code.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

PACKAGE = "guard_agent"
# Public modules of the released package; those with a leading underscore are its own business.
MODULES = (
    "",
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
    """Return `{"all": [names], "modules": {module: {name: facts}}}` of the importable `guard_agent`."""
    root = importlib.import_module(PACKAGE)
    modules = {name: importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE) for name in MODULES}
    return {
        "version": root.__version__,
        "all": sorted(root.__all__),
        "modules": {name or "guard_agent": _module(module) for name, module in modules.items()},
    }


def _module(module: Any) -> dict[str, Any]:
    facts = {}
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or inspect.ismodule(value):
            continue
        home = getattr(value, "__module__", None)
        if isinstance(home, str) and not home.startswith(PACKAGE):
            continue  # what a module imported from elsewhere is no offer of its own
        if home is None and not _is_constant(name):
            continue
        facts[name] = describe(value)
    return facts


def _is_constant(name: str) -> bool:
    return name.isupper()


def describe(value: Any) -> dict[str, Any]:
    """Return the facts of one name."""
    if inspect.isclass(value):
        return _class(value)
    if inspect.isroutine(value):
        return {
            "kind": "function",
            "async": inspect.iscoroutinefunction(value),
            "parameters": _parameters(value),
        }
    if isinstance(value, (set, frozenset)):
        return {"kind": "constant", "value": sorted(map(str, value))}
    return {"kind": "constant", "value": value if isinstance(value, (str, int, float, bool)) else repr(value)}


def _class(cls: type) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": "class", "bases": [base.__name__ for base in cls.__mro__[1:-1]]}
    if getattr(cls, "_is_protocol", False):
        facts["kind"] = "protocol"
        facts["runtime_checkable"] = bool(getattr(cls, "_is_runtime_protocol", False))
    if issubclass(cls, enum.Enum):
        return {"kind": "enum", "values": {member.name: member.value for member in cls}}
    fields = getattr(cls, "model_fields", None)
    if fields is not None:
        config = {key: repr(cls.model_config[key]) for key in sorted(cls.model_config)}  # type: ignore[attr-defined]
        return {
            "kind": "model",
            "config": config,
            "fields": {name: _field(field) for name, field in fields.items()},
        }
    if not issubclass(cls, BaseException) and facts["kind"] == "class":
        facts["parameters"] = _parameters(cls)
    facts["methods"] = _methods(cls)
    return facts


def _methods(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith(PACKAGE):
            continue
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            plain = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(plain, property):
                found[name] = {"kind": "property"}
            elif inspect.isroutine(plain):
                found[name] = describe(plain)
    return dict(sorted(found.items()))


def _parameters(value: Any) -> list[dict[str, Any]]:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return []
    return [
        {"name": parameter.name, "kind": parameter.kind.name}
        | ({} if parameter.default is parameter.empty else {"default": _plain(parameter.default)})
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]


def _field(field: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": _type_name(field.annotation), "required": field.is_required()}
    if not field.is_required():
        factory = field.default_factory
        facts["default"] = _plain(field.default) if factory is None else _made(factory())
    limits = {
        key: getattr(rule, key)
        for rule in field.metadata
        for key in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
        if getattr(rule, key, None) is not None
    }
    return facts | ({"limits": limits} if limits else {})


def _made(value: Any) -> Any:
    """Return what a default factory makes, or only its type where each call makes another."""
    return value if value in ({}, []) else f"<{type(value).__name__}>"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is not None or not inspect.isclass(annotation):
        return re.sub(r"\b(?:typing|collections\.abc|uuid|datetime)\.(?=[A-Za-z])", "", str(annotation))
    return str(annotation.__name__)
