"""Writes the pages of docs/reference/ that follow from the code: problems, settings and roles.

Run it after a change (``python tools/write_reference.py``); a test compares the pages with the code.
"""

import importlib
import json
import pkgutil
from inspect import getdoc
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import guardhouse
from guardhouse.foundation.errors import Problem, catalogue
from guardhouse.identity.roles import ROLES, SCOPES
from guardhouse.settings import PREFIX, Settings, holds_secrets

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {"problems.md": _problems(), "settings.md": _settings(), "roles.md": _roles()}


def _problems() -> str:
    for module in pkgutil.walk_packages(guardhouse.__path__, "guardhouse."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    lines = [
        "# Problems",
        "",
        "Every refusal is `application/problem+json` (RFC 9457) with one of these codes. A running server",
        "explains each at `/problems/<code>`. This page is written by `tools/write_reference.py`.",
        "",
    ]
    for problem in catalogue():
        if problem.__module__.startswith("guardhouse."):
            lines += _problem(problem)
    return "\n".join(lines).rstrip() + "\n"


def _problem(problem: type[Problem]) -> list[str]:
    cause = (getdoc(problem) or "").partition("\n\n")[0].replace("\n", " ")
    return [
        f"## {problem.code}",
        "",
        f"**{problem.status} {problem.title}.** {cause}",
        "",
        f"Remedy: {problem.remediation}",
        "",
    ]


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "Read once, at the start, from the environment. A secret may stand in a file instead, named by the",
        "variable with `_FILE` appended. This page is written by `tools/write_reference.py`.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        meaning = field.description or ""
        secret = " Secret." if holds_secrets(field.annotation) else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {meaning}{secret} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.default_factory is not None or value is PydanticUndefined:
        return "`~/.local/share/guardhouse`"  # the one default that depends on the machine
    if value in (None, [], {}):
        return "-"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _roles() -> str:
    names = ("viewer", "analyst", "admin", "agent", "billing", "platform")
    lines = [
        "# Roles",
        "",
        "A role is a named set of scopes; a credential has the scopes of its role or fewer. Scopes that end in",
        "`:own` reach only what belongs to the credential itself. This page is written by",
        "`tools/write_reference.py` from `identity/roles.py` and `contract/openapi.json`; a test calls every",
        "operation as every role.",
        "",
        f"| scope | {' | '.join(names)} |",
        "|---|" + ":-:|" * len(names),
    ]
    for scope in sorted(SCOPES):
        marks = ("✓" if scope in ROLES[name] else "" for name in names)
        lines.append(f"| `{scope}` | {' | '.join(marks)} |")
    lines += ["", "| operation | any of these scopes |", "|---|---|", *_operations()]
    return "\n".join(lines) + "\n"


def _operations() -> list[str]:
    document = json.loads((REPOSITORY / "contract" / "openapi.json").read_text(encoding="utf-8"))
    lines = []
    for path, methods in sorted(document["paths"].items()):
        for method, operation in sorted(methods.items()):
            ways = operation.get("security")
            scopes = sorted({scope for way in ways or () for named in way.values() for scope in named})
            needed = " ".join(f"`{scope}`" for scope in scopes)
            said = "open to anybody" if ways is None else needed or "any credential"
            lines.append(f"| `{method.upper()} {path}` | {said} |")
    return lines


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
