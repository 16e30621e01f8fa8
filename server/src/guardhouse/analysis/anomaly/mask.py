"""Masks: what varies without meaning becomes a word, so that a template is one line; with the way back to the text.

``log`` hides every number and long hexadecimal word, ``light`` only what is surely an identifier, ``none`` nothing.
All patterns work on bytes and are linear: bounded, or anchored to where a word begins.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.mask_numbers import NUMBERS, lines_with_digits, without_numbers

VERSION: Final = "1"
REPEATED: Final = 0.5
"""``auto`` takes ``log`` when at most this share of the warm-up's lines is distinct under it."""
MEMO: Final = 65_536

_JWT: Final = rb"(?<![\w.#-])eyJ[\w#-]{4,}\.[\w#-]{4,}\.[\w#-]*"
_EMAIL: Final = rb"(?<![\w.+%#-])[\w.+%#-]{1,64}@[\w#-]{1,63}(?:\.[\w#-]{1,63})+"
_URL: Final = rb"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s\"'<>]+"
_WORDS: Final = re.compile(rb"(%s)|(%s)|(%s)" % (_JWT, _EMAIL, _URL))
_WORD_NAMES: Final = (b"", b"<jwt>", b"<email>", b"<url>")
_TIME: Final = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    rb"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_UUID: Final = rb"\b(?=[a-fA-F-]{0,35}[0-9])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_HEX: Final = rb"0[xX][0-9a-fA-F]{4,}|\b(?=[a-fA-F]{0,63}[0-9])[0-9a-fA-F]{16,64}\b"
_IP: Final = rb"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b"
_LIGHT: Final = re.compile(
    rb"(%s)|(%s)|(%s)|(%s)|(%s)|(%s)|(%s)|([0-9]{4,})" % (_TIME, _JWT, _UUID, _HEX, _EMAIL, _URL, _IP)
)
_LIGHT_DIGITS: Final = re.compile(
    rb"(%s)|(\Z.)|(%s)|(%s)|(\Z.)|(\Z.)|(%s)|([0-9]{4,})" % (_TIME, _UUID, _HEX, _IP)
)
"""The same without what needs ``@``, ``://`` or ``eyJ``, which most lines lack."""
_MARKS: Final = (b"@", b"://", b"eyJ")
_LIGHT_NAMES: Final = (b"", b"<ts>", b"<jwt>", b"<uuid>", b"<hex>", b"<email>", b"<url>", b"<ip>", b"<num>")


class Masker:
    """Applies one mask; remembers the second stage of distinct lines, which changes nothing but the time it takes."""

    def __init__(self, mask: str) -> None:
        if mask not in {"log", "light", "none"}:
            raise ValueError(f"there is no mask {mask!r}")
        self.mask = mask
        self._seen: dict[bytes, bytes] = {}

    def lines(self, lines: Sequence[bytes]) -> list[bytes]:
        """Mask lines; none of them holds a newline."""
        if self.mask == "none" or not lines:
            return list(lines)
        if self.mask == "light":
            return _light_lines(list(lines))
        seen = self._seen
        return [seen.get(line) or self._second(line) for line in without_numbers(list(lines))]

    def _second(self, line: bytes) -> bytes:
        if b"@" not in line and b"eyJ" not in line and b"://" not in line:
            masked = line
        else:
            masked = _WORDS.sub(_word_name, line)
        if len(self._seen) >= MEMO:
            self._seen.clear()
        self._seen[line] = masked
        return masked

    def trace(self, line: bytes) -> "Traced":
        """Mask one line and keep where each byte of the result came from."""
        traced = Traced.untouched(line)
        if self.mask == "light":
            return traced.replaced(_LIGHT, _LIGHT_NAMES)
        if self.mask == "log":
            return traced.replaced(NUMBERS, (b"#",)).replaced(_WORDS, _WORD_NAMES)
        return traced


@dataclass(frozen=True, slots=True)
class Traced:
    """A masked line; byte i of ``masked`` stands for ``raw[begins[i]:ends[i]]``."""

    raw: bytes
    masked: bytes
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def untouched(cls, line: bytes) -> "Traced":
        """A line that stands for itself."""
        places = np.arange(len(line), dtype=np.int64)
        return cls(line, line, places, places + 1)

    def replaced(self, pattern: re.Pattern[bytes], names: Sequence[bytes]) -> "Traced":
        """Replace each match by the name of its group (by the only name where the pattern has no group)."""
        pieces: list[bytes] = []
        begins: list[NDArray[np.int64]] = []
        ends: list[NDArray[np.int64]] = []
        done = 0
        for found in pattern.finditer(self.masked):
            begin, end = found.span()
            name = names[found.lastindex or 0]
            pieces += (self.masked[done:begin], name)
            begins += (self.begins[done:begin], np.full(len(name), self.begins[begin]))
            ends += (self.ends[done:begin], np.full(len(name), self.ends[end - 1]))
            done = end
        return Traced(
            self.raw,
            b"".join([*pieces, self.masked[done:]]),
            np.concatenate([*begins, self.begins[done:]]),
            np.concatenate([*ends, self.ends[done:]]),
        )

    def raw_span(self, begin: int, end: int) -> tuple[int, int]:
        """The stretch of the raw line that ``masked[begin:end]`` stands for; the line's end for what is beyond."""
        if begin >= len(self.masked):
            return len(self.raw), len(self.raw)
        last = min(end, len(self.masked)) - 1
        return int(self.begins[begin]), int(self.ends[last])


def choose_mask(lines: Sequence[bytes]) -> str:
    """``log`` where it makes templates of these lines, else ``light``."""
    distinct = len(set(Masker("log").lines(lines)))
    return "log" if distinct <= REPEATED * len(lines) else "light"


def _light_lines(lines: list[bytes]) -> list[bytes]:
    """Lines under ``light``: each goes through as much of the pattern as it can match."""
    found = list(lines)
    for number in lines_with_digits(lines):
        found[number] = _LIGHT_DIGITS.sub(_light_name, lines[number])
    joined = b"\n".join(lines)
    if any(mark in joined for mark in _MARKS):
        for number, line in enumerate(lines):
            if any(mark in line for mark in _MARKS):
                found[number] = _LIGHT.sub(_light_name, line)
    return found


def _light_name(found: re.Match[bytes]) -> bytes:
    return _LIGHT_NAMES[found.lastindex or 0]


def _word_name(found: re.Match[bytes]) -> bytes:
    return _WORD_NAMES[found.lastindex or 0]
