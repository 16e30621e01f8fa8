"""Glob patterns matched in linear time: `*`, `?`, `[abc]`, `[a-z]`, `[!a]` as the shell reads them.

Invariant: a pattern is cut at its stars once and each piece is looked for once, leftmost first, so a text of n
characters costs at most n times the length of the pattern, whatever both hold; no regular expression is made.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

MAX_PATTERN: Final = 256
MAX_STARS: Final = 8


class CharClass(NamedTuple):
    """`[...]`: one character that is among these, or is not."""

    negated: bool
    singles: frozenset[str]
    ranges: tuple[tuple[str, str], ...]

    def holds(self, char: str) -> bool:
        """Whether the character belongs to the class."""
        found = char in self.singles or any(low <= char <= high for low, high in self.ranges)
        return found is not self.negated


Unit = str | CharClass | None  # one character itself, a class, or any character


class Piece:
    """What stands between two stars: a fixed number of characters."""

    __slots__ = ("length", "literal", "units")

    def __init__(self, units: list[Unit]) -> None:
        self.units = units
        self.length = len(units)
        self.literal = "".join(u for u in units if isinstance(u, str)) if _all_literal(units) else None

    def at(self, text: str, place: int) -> bool:
        """Whether the piece stands at this place; the text must be long enough."""
        if self.literal is not None:
            return text.startswith(self.literal, place)
        return all(_fits(unit, text[place + n]) for n, unit in enumerate(self.units))

    def find(self, text: str, start: int, end: int) -> int:
        """Return the first place from `start` on where the piece stands before `end`; -1 when nowhere."""
        if self.literal is not None:
            return text.find(self.literal, start, end)
        for place in range(start, end - self.length + 1):
            if self.at(text, place):
                return place
        return -1


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """Return a test for one pattern; the whole text must match.

    Raises:
        ValueError: over 256 characters or over eight stars.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a glob has at most {MAX_PATTERN} characters")
    first, *others = [Piece(units) for units in _pieces(pattern)]
    if len(others) > MAX_STARS:
        raise ValueError(f"a glob has at most {MAX_STARS} stars")
    if not others:
        return lambda text: len(text) == first.length and first.at(text, 0)
    *middle, last = others
    shortest = sum(piece.length for piece in (first, *others))

    def holds(text: str) -> bool:
        end = len(text) - last.length
        if len(text) < shortest or not first.at(text, 0) or not last.at(text, end):
            return False
        place = first.length
        for piece in middle:
            place = piece.find(text, place, end)
            if place < 0:
                return False
            place += piece.length
        return True

    return holds


def _pieces(pattern: str) -> list[list[Unit]]:
    pieces: list[list[Unit]] = [[]]
    place = 0
    while place < len(pattern):
        char = pattern[place]
        place += 1
        if char == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])  # two stars in a row are one
        elif char == "?":
            pieces[-1].append(None)
        elif char == "[" and (close := _close(pattern, place)) > 0:
            pieces[-1].append(_char_class(pattern[place:close]))
            place = close + 1
        else:
            pieces[-1].append(char)
    return pieces


def _close(pattern: str, place: int) -> int:
    """Return where the class that begins at `place` ends, -1 when it does not; a first `]` is a member."""
    at = place + 1 if pattern[place : place + 1] == "!" else place
    return pattern.find("]", at + 1 if pattern[at : at + 1] == "]" else at)


def _char_class(text: str) -> CharClass:
    negated = text.startswith("!")
    members = text[1:] if negated else text
    singles: set[str] = set()
    ranges: list[tuple[str, str]] = []
    place = 0
    while place < len(members):
        if members[place + 1 : place + 2] == "-" and place + 2 < len(members):
            ranges.append((members[place], members[place + 2]))
            place += 3
        else:
            singles.add(members[place])
            place += 1
    return CharClass(negated, frozenset(singles), tuple(ranges))


def _all_literal(units: list[Unit]) -> bool:
    return all(isinstance(unit, str) for unit in units)


def _fits(unit: Unit, char: str) -> bool:
    if unit is None:
        return True
    return unit == char if isinstance(unit, str) else unit.holds(char)
