"""Takes the values of sensitive headers out of an item before it is serialised, so that no disk ever sees them.

Names are compared without regard to case, in nested objects down to a depth of 10, and inside strings that hold a JSON
object (up to 8,192 characters; a longer one that names a sensitive header is replaced whole).
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[REDACTED]"
CUT: Final = "...[TRUNCATED]"
_DEPTH: Final = 10
_JSON_CHARACTERS: Final = 8192


class Redactor:
    """Redacts the values of `headers` and cuts strings at `longest` characters (None: never)."""

    def __init__(self, headers: list[str], longest: int | None = None) -> None:
        self._names = frozenset(name.lower() for name in headers)
        self._longest = longest

    def clean(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return a copy of an object without sensitive values."""
        return self._mapping(value, 0)

    def text(self, value: str) -> str:
        """Return a string without sensitive values, cut where it is too long."""
        return self._text(value, 0)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value, depth)
        if isinstance(value, Mapping):
            return self._mapping(value, depth) if depth < _DEPTH else REDACTED
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(item, depth + 1) for item in value] if depth < _DEPTH else REDACTED
        if isinstance(value, float) and not math.isfinite(value):
            return non_finite(value)
        return value

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        return {
            key: REDACTED
            if isinstance(key, str) and key.lower() in self._names
            else self._value(item, depth + 1)
            for key, item in value.items()
        }

    def _text(self, value: str, depth: int) -> str:
        if self._names and value.lstrip()[:1] in ("{", "["):
            value = self._json(value, depth)
        if self._longest is not None and len(value) > self._longest:
            return value[: self._longest] + CUT
        return value

    def _json(self, value: str, depth: int) -> str:
        lowered = value.lower()
        if not any(name in lowered for name in self._names) and "\\u" not in lowered:
            return value
        if len(value) > _JSON_CHARACTERS:
            return REDACTED
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if not isinstance(parsed, (dict, list)):
            return value
        inner = Redactor(list(self._names))
        return json.dumps(inner._value(parsed, depth + 1), ensure_ascii=False)


def non_finite(value: float) -> str:
    """Return the text of a number that JSON does not know."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
