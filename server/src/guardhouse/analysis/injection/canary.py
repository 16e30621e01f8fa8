"""Canary tokens: marks planted in prompts and documents that no honest answer contains, in any reading of it."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guardhouse.analysis.injection.offsets import Reading

PREFIX: Final = "ghc_"
LENGTH: Final = 20
WIDEST: Final = 512  # code points that a token may be spread over
_OTHER: Final = re.compile(r"[^A-Za-z2-7_]+")
_KEPT: Final = re.compile(r"[A-Za-z2-7_]")
_BODY: Final = re.compile(rf"[a-z2-7]{{{LENGTH}}}")
_BEGUN: Final = re.compile(rf"(?:ghc_|tup_)[a-z2-7]{{0,{LENGTH - 1}}}$")
_MARKS: Final = (PREFIX, codecs.encode(PREFIX, "rot13"), PREFIX[::-1])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A string of a token's form, lower case, and where it stands in the text as sent; who made it knows it."""

    token: str
    start: int
    end: int


def candidates(reading: Reading) -> list[Candidate]:
    """Return every string of a token's form: as it is, with anything between its letters, in ROT13 or backwards."""
    squeezed = _OTHER.sub("", reading.text).lower()
    if not any(mark in squeezed for mark in _MARKS):
        return []
    places = [m.start() for m in _KEPT.finditer(reading.text)]
    found: list[Candidate] = []
    for token, first in _tokens(squeezed):
        start, end = reading.span(places[first], places[first + len(PREFIX) + LENGTH - 1] + 1)
        if end - start <= WIDEST:
            found.append(Candidate(token, start, end))
    return found


def begun(text: str) -> int | None:
    """Return where a token begins that the end of a text cuts off; None when there is none."""
    squeezed = _BEGUN.search(_OTHER.sub("", text).lower())
    if squeezed is None:
        return None
    return [m.start() for m in _KEPT.finditer(text)][squeezed.start()]


def _tokens(squeezed: str) -> Iterator[tuple[str, int]]:
    plain, turned, backwards = _MARKS
    for mark in (plain, turned):
        for place in _places(squeezed, mark):
            body = _BODY.match(squeezed, place + len(mark))
            if body:
                yield PREFIX + (body[0] if mark == plain else codecs.encode(body[0], "rot13")), place
    for place in _places(squeezed, backwards):
        body = _BODY.fullmatch(squeezed, max(place - LENGTH, 0), place)
        if body:
            yield PREFIX + body[0][::-1], place - LENGTH


def _places(text: str, mark: str) -> Iterator[int]:
    place = text.find(mark)
    while place >= 0:
        yield place
        place = text.find(mark, place + 1)
