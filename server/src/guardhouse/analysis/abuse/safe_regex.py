"""Which regular expressions may be sent to apps: those that compile and cannot be made to run for ever.

Python's matcher goes back and tries again. It takes exponential time where one text can be read in several ways by a
repetition: one that varies inside one without a bound, or alternatives there that begin alike; and a power of the
length where repetitions without a bound that take the same characters stand side by side. All of these are refused,
some of them though they would be harmless.
"""

import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

_parser: Any = import_module("re._parser")  # the only parser of the syntax that apps compile; it has no types

MAX_LENGTH: Final = 1000
_LOOPS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_SIGNS: Final = frozenset(range(129))  # ASCII, and one that stands for all the rest
_CLASSES: Final = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


def why_unsafe(pattern: str) -> str | None:
    """Return why a pattern may not be sent, as the rest of a sentence; None when it may."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what warns today is an error in a later Python
            re.compile(pattern)
            parsed = _parser.parse(pattern)
        return _fault(parsed, looped=False)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"does not compile: {error}"


def _fault(parsed: Any, *, looped: bool) -> str | None:
    """Return what is wrong with a sequence that stands inside a repetition without a bound, or does not."""
    before: frozenset[int] = frozenset()  # what the repetition without a bound just before takes
    for code, argument in parsed:
        name, open_ended = str(code), False
        if name in _LOOPS:
            least, most, body = argument
            open_ended = most == _parser.MAXREPEAT
            if looped and least != most:
                return "has a repetition that varies inside one without a bound"
            taken = _taken(body) if open_ended else frozenset()
            if before & taken:
                return "has repetitions without a bound side by side that take the same characters"
            before = taken
        else:
            before = frozenset()
        if name == "BRANCH" and looped and _begin_alike(argument[1]):
            return "has alternatives that begin alike inside a repetition without a bound"
        if looped and name == "GROUPREF":
            return "refers to a group inside a repetition without a bound"
        for part in _parts(argument):
            found = _fault(part, looped=looped or open_ended)
            if found is not None:
                return found
    return None


def _begin_alike(branches: Any) -> bool:
    seen: set[int] = set()
    for branch in branches:
        first = _first(branch)
        if not first or seen & first:
            return True  # nothing at all is a beginning of everything
        seen |= first
    return False


def _first(parsed: Any) -> frozenset[int]:
    """Return the signs that a sequence can begin with; none when it can be empty."""
    found: frozenset[int] = frozenset()
    for code, argument in parsed:
        name = str(code)
        if name in {"AT", "ASSERT", "ASSERT_NOT"}:
            continue
        if name in _LOOPS:
            found |= _first(argument[2])
            if argument[0] == 0:
                continue
            return found
        if name == "BRANCH":
            return found | frozenset().union(*(_first(branch) or _SIGNS for branch in argument[1]))
        parts = _parts(argument)
        return found | (_first(parts[0]) if parts else _signs(name, argument))
    return frozenset()


def _taken(parsed: Any) -> frozenset[int]:
    """Return all signs that a sequence can take."""
    found: frozenset[int] = frozenset()
    for code, argument in parsed:
        parts = _parts(argument)
        found |= frozenset().union(*map(_taken, parts)) if parts else _signs(str(code), argument)
    return found


def _signs(name: str, argument: Any) -> frozenset[int]:
    if name == "LITERAL":
        return frozenset({min(argument, 128)})
    if name == "IN":
        negated = any(str(code) == "NEGATE" for code, _ in argument)
        named = frozenset(sign for code, told in argument for sign in _members(str(code), told))
        return (_SIGNS - named) | {128} if negated else named
    if name in {"AT", "ASSERT", "ASSERT_NOT"}:
        return frozenset()
    return _SIGNS


def _members(name: str, told: Any) -> Iterator[int]:
    if name == "LITERAL":
        yield min(told, 128)
    elif name == "RANGE":
        yield from range(min(told[0], 128), min(told[1], 128) + 1)
    elif name == "CATEGORY":
        word = str(told).removeprefix("CATEGORY_")
        shape, wanted = _CLASSES.get(word.removeprefix("NOT_"), "."), not word.startswith("NOT_")
        yield from (sign for sign in _SIGNS if sign == 128 or bool(re.match(shape, chr(sign))) == wanted)  # noqa: PLR2004 - the rest


def _parts(argument: Any) -> list[Any]:
    """Return the patterns within what a node of the parser holds."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [part for item in argument for part in _parts(item)]
    return []
