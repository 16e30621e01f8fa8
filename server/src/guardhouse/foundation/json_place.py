"""Where in a JSON text a rule is broken that the decoder tells without a place: line and column, from 1."""

import math
import re
from typing import Final, NamedTuple

_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]|NaN|-?Infinity|-?\d[\d.eE+-]*', re.DOTALL)
_LONGEST_INTEGER: Final = 4300  # digits that Python converts (sys.int_info.default_max_str_digits)


class Place(NamedTuple):
    """A place in a text."""

    line: int
    column: int


def place_at(text: str, offset: int) -> Place:
    """Return line and column of an offset."""
    return Place(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def first_constant(text: str) -> Place:
    """Return where the first number is that JSON does not have or nobody can hold."""
    for token in _TOKENS.finditer(text):
        if token[0][-1] in "Ny" or (token[0][-1].isdigit() and _beyond(token[0])):
            return place_at(text, token.start())
    return Place(1, 1)


def first_too_deep(text: str, levels: int) -> Place:
    """Return where nesting first goes beyond so many levels."""
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > levels:
            return place_at(text, token.start())
    return Place(1, 1)


def first_too_wide(text: str, members: int) -> Place:
    """Return where an object's members first go beyond so many."""
    commas: list[int | None] = []  # per open bracket; None for a list
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            commas.append(0 if token[0] == "{" else None)
        elif token[0] in "]}" and commas:
            commas.pop()
        elif token[0] == "," and commas and commas[-1] is not None:
            commas[-1] += 1
            if commas[-1] >= members:
                return place_at(text, token.start())
    return Place(1, 1)


def _beyond(number: str) -> bool:
    if number.lstrip("-").isdigit():
        return len(number.lstrip("-")) > _LONGEST_INTEGER
    try:
        return math.isinf(float(number))
    except ValueError:
        return False
