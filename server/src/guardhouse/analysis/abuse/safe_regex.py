"""Which regular expressions may be sent to apps: those that compile and cannot be made to run for ever.

Refused is what takes exponential time on a text made for it: a repetition without an upper bound inside another.
"""

import re
import warnings
from re import _parser  # type: ignore[attr-defined]  # the only parser of the syntax that apps compile
from typing import Any, Final

MAX_LENGTH: Final = 1000
_LOOPS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


def why_unsafe(pattern: str) -> str | None:
    """Return why a pattern may not be sent, as the rest of a sentence; None when it may."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what warns today is an error in a later Python
            re.compile(pattern)
            parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"does not compile: {error}"
    return "has a repetition without a bound inside another" if _nests(parsed, inside=False) else None


def _nests(parsed: Any, *, inside: bool) -> bool:
    for code, argument in parsed:
        unbounded = False
        if str(code) in _LOOPS:
            _, most, _ = argument
            unbounded = most == _parser.MAXREPEAT
            if unbounded and inside:
                return True
        if any(_nests(part, inside=inside or unbounded) for part in _parts(argument)):
            return True
    return False


def _parts(argument: Any) -> list[Any]:
    """Return the patterns within what a node of the parser holds."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [part for item in argument for part in _parts(item)]
    return []
