"""Decode the body of a detection: every string of JSON is a text, also one that cannot be stored elsewhere.

NUL, controls and invisible characters are what an attack hides in; a refusal would hide the attack. Unpaired
surrogates alone cannot be text: they become U+FFFD, and the answer says so.
"""

import json
import re
from typing import Any, Final, NoReturn

from guardhouse.foundation.errors import InvalidJson
from guardhouse.foundation.json_place import Place, first_constant, first_too_deep, place_at

MAX_DEPTH: Final = 32
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def decode(body: bytes) -> tuple[Any, list[str], bool]:
    """Return the value of a JSON text, what is odd about it, and whether surrogates were replaced.

    Raises:
        InvalidJson: not UTF-8, not JSON, NaN or Infinity, deeper than 32 levels; with line and column.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8")
        raise _invalid("The body is not UTF-8", place_at(before, len(before))) from None
    doubled: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and not doubled:
            doubled.append("duplicate_key")
        return found

    deep = first_too_deep(text, MAX_DEPTH) if text.count("[") + text.count("{") > MAX_DEPTH else None
    try:
        value = json.loads(text, object_pairs_hook=members, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _invalid(error.msg, Place(error.lineno, error.colno)) from None
    except RecursionError:
        raise _invalid(f"The body is nested deeper than {MAX_DEPTH} levels", deep or Place(1, 1)) from None
    except ValueError:
        raise _invalid("This is no number that JSON has", first_constant(text)) from None
    if deep is not None and _is_deep(value):
        raise _invalid(f"The body is nested deeper than {MAX_DEPTH} levels", deep)
    replaced = "\\u" in text and _has_surrogate(value)
    return (_without_surrogates(value) if replaced else value), doubled, replaced


def _invalid(sentence: str, place: Place) -> InvalidJson:
    return InvalidJson(
        f"{sentence}: line {place.line}, column {place.column}.", line=place.line, column=place.column
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_deep(value: Any, level: int = 1) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    if level > MAX_DEPTH:
        return True
    below = value.values() if isinstance(value, dict) else value
    return any(_is_deep(item, level + 1) for item in below)


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_has_surrogate(item) for item in value)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value
