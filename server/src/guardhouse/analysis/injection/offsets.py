"""A reading of a text and, for each of its code points, the stretch of the text as sent that it stands for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Edit = tuple[int, int, str]
"""Replace ``[start, end)`` of a reading by a text; the empty text removes it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text after some steps of normalising.

    ``starts`` and ``ends`` are parallel to ``text`` and hold offsets in code points of the text as sent. They are
    ``None`` while the reading is that text itself, so that ordinary text pays nothing for its map.
    """

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where ``[start, end)`` of this reading stands in the text as sent; an empty stretch is a place."""
        if self.starts is None or self.ends is None:
            return start, end
        if start >= end:
            place = self.starts[start] if start < len(self.starts) else (self.ends[-1] if self.ends else 0)
            return place, place
        return min(self.starts[start:end]), max(self.ends[start:end])

    def part(self, start: int, end: int) -> "Reading":
        """Return the stretch ``[start, end)`` as a reading of its own."""
        starts = range(start, end) if self.starts is None else self.starts[start:end]
        ends = range(start + 1, end + 1) if self.ends is None else self.ends[start:end]
        return Reading(self.text[start:end], starts, ends)


def edited(reading: Reading, edits: Iterable[Edit]) -> Reading:
    """Apply edits, which are in order and do not overlap.

    A replacement as long as what it replaces maps code point by code point; any other maps each of its code points
    to the whole stretch.
    """
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    old_starts = reading.starts if reading.starts is not None else range(len(reading.text))
    old_ends = reading.ends if reading.ends is not None else range(1, len(reading.text) + 1)
    done = 0
    for start, end, replacement in edits:
        pieces += (reading.text[done:start], replacement)
        starts += old_starts[done:start]
        ends += old_ends[done:start]
        if len(replacement) == end - start:
            starts += old_starts[start:end]
            ends += old_ends[start:end]
        elif replacement:
            place = reading.span(start, end)
            starts += [place[0]] * len(replacement)
            ends += [place[1]] * len(replacement)
        done = end
    if not pieces:
        return reading
    pieces.append(reading.text[done:])
    starts += old_starts[done:]
    ends += old_ends[done:]
    return Reading("".join(pieces), starts, ends)


def decoded(reading: Reading, start: int, end: int, text: str) -> Reading:
    """Return what ``[start, end)`` of a reading says when decoded: all of it stands for the whole stretch."""
    place = reading.span(start, end)
    return Reading(text, [place[0]] * len(text), [place[1]] * len(text))
