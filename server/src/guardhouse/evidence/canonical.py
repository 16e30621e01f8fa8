"""One JSON text per value: what is hashed and signed must not depend on who wrote it down.

UTF-8, keys sorted by code point, no spaces, integers as they are, other numbers as the shortest decimal that reads back
as the same double, text as it is (no normalisation). Reading is strict: equal bytes are the only spelling.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class NotCanonicalError(ValueError):
    """A value has no canonical form, or bytes are not the canonical form of a value; the message says why."""


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a tree of mappings with text keys, sequences, text, numbers, booleans and None.

    Raises:
        NotCanonicalError: NaN, an infinity, a key that is no text, half a surrogate pair, any other type.
    """
    _check_keys(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError) as error:
        raise NotCanonicalError(str(error)) from error


def read_canonical(raw: bytes) -> Any:
    """Return the value of canonical JSON.

    Raises:
        NotCanonicalError: the bytes are no JSON, name a key twice, or are another spelling of their value.
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except (RecursionError, ValueError) as error:
        raise NotCanonicalError(str(error)) from error
    if canonical(value) != raw:
        raise NotCanonicalError("the bytes are not the canonical spelling of their value")
    return value


def _check_keys(value: Any) -> None:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for key in one:
                if not isinstance(key, str):
                    raise NotCanonicalError(f"a key is no text: {key!r}")
            waiting.extend(one.values())
        elif isinstance(one, Sequence) and not isinstance(one, str | bytes):
            waiting.extend(one)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotCanonicalError("a key is named twice")
    return found


def _refuse(word: str) -> NoReturn:
    raise NotCanonicalError(f"{word} is no number of JSON")
