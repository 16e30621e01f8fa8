"""The first stage of the mask ``log`` on many lines at once: numbers and long hexadecimal words become ``#``.

Digits with inner ``. : , - _ /`` are found by comparing neighbouring bytes, for all lines in a few array operations;
only lines with a hexadecimal word go through the regular expression that defines the mask.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

NUMBERS: Final = re.compile(
    rb"0[xX][0-9a-fA-F]+|\b(?=[0-9]*[a-fA-F])[0-9a-fA-F]{8,}\b|[0-9]+(?:[.:,\-_/][0-9]+)*"
)
"""What becomes ``#``. A word of digits alone is a number, however long."""
SHORTEST_HEX: Final = 8
FEWEST_DIGITS: Final = 4
"""Digits of the shortest number and the shortest address that ``light`` hides."""
_HASH, _NEWLINE = ord("#"), ord("\n")
_DIGIT, _INNER, _LETTER, _WORD, _X = 1, 2, 4, 8, 16


def _classes() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for byte in range(128):
        c = chr(byte)
        table[byte] |= _WORD * (c.isalnum() or c == "_")
        table[byte] |= _LETTER * (c in "abcdefABCDEF")
        table[byte] |= _DIGIT * c.isdigit()
        table[byte] |= _INNER * (c in ".:,-_/")
        table[byte] |= _X * (c in "xX")
    return table


_CLASS: Final = _classes()


def without_numbers(lines: list[bytes]) -> list[bytes]:
    """Each line with its numbers as ``#``; none of them holds a newline."""
    joined = np.frombuffer(b"\n".join(lines), np.uint8)
    kind = _CLASS.take(joined)
    special = _lines_with_hex(joined, kind)
    found = _collapsed(joined, kind)
    for number in special:
        found[number] = NUMBERS.sub(b"#", lines[number])
    return found


def _collapsed(joined: NDArray[np.uint8], kind: NDArray[np.uint8]) -> list[bytes]:
    """Runs of digits, and of digits around one inner mark, as one ``#``."""
    digit = (kind & _DIGIT).view(np.bool_)
    number = digit.copy()
    number[1:-1] |= (kind[1:-1] & _INNER).astype(np.bool_) & digit[:-2] & digit[2:]
    kept = np.ones(joined.size, np.bool_)
    np.logical_and(number[1:], number[:-1], out=kept[1:])
    np.logical_not(kept[1:], out=kept[1:])
    shown = np.where(number, np.uint8(_HASH), joined)[kept]
    return shown.tobytes().split(b"\n")


def _lines_with_hex(joined: NDArray[np.uint8], kind: NDArray[np.uint8]) -> list[int]:
    """The numbers of lines with ``0x`` before a hexadecimal digit, or a hexadecimal word of eight with a letter."""
    letter = (kind & _LETTER).astype(np.bool_)
    hexadecimal = letter | (kind & _DIGIT).view(np.bool_)
    prefixed = (kind[1:-1] & _X).astype(np.bool_) & (joined[:-2] == ord("0")) & hexadecimal[2:]
    places = np.concatenate([np.flatnonzero(prefixed), _hex_words(letter, hexadecimal, kind)])
    if not places.size:
        return []
    ends = np.flatnonzero(joined == _NEWLINE)
    return np.unique(np.searchsorted(ends, places)).tolist()  # type: ignore[no-any-return] # whole numbers


def lines_with_digits(lines: list[bytes]) -> list[int]:
    """The numbers of lines with four digits or more, with ``0x``, or with a long hexadecimal run and a digit."""
    joined = np.frombuffer(b"\n".join(lines), np.uint8)
    kind = _CLASS.take(joined)
    digit = (kind & _DIGIT).view(np.bool_)
    digits = np.flatnonzero(digit)
    if not digits.size:
        return []
    ends = np.flatnonzero(joined == _NEWLINE)
    count = np.bincount(np.searchsorted(ends, digits), minlength=ends.size + 1)
    some = count >= FEWEST_DIGITS
    prefixed = (kind[1:-1] & _X).astype(np.bool_) & (joined[:-2] == ord("0"))
    run = np.flatnonzero(np.diff(digit | (kind & _LETTER).astype(np.bool_), prepend=False, append=False))
    long = run[::2][run[1::2] - run[::2] >= SHORTEST_HEX]
    some[np.searchsorted(ends, np.flatnonzero(prefixed))] = True
    of_runs = np.searchsorted(ends, long)
    some[of_runs[count[of_runs] > 0]] = True
    return np.flatnonzero(some).tolist()


def _hex_words(
    letter: NDArray[np.bool_], hexadecimal: NDArray[np.bool_], kind: NDArray[np.uint8]
) -> NDArray[np.intp]:
    """Where such words begin."""
    edges = np.flatnonzero(np.diff(hexadecimal, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    long = ends - begins >= SHORTEST_HEX
    begins, ends = begins[long], ends[long]
    if not begins.size:
        return begins
    word = np.concatenate([kind & _WORD, np.zeros(1, np.uint8)])
    alone = (word[ends] == 0) & ((begins == 0) | (word[begins - 1] == 0))
    begins, ends = begins[alone], ends[alone]
    letters = np.concatenate([np.zeros(1, np.int64), np.cumsum(letter)])
    found: NDArray[np.intp] = begins[letters[ends] > letters[begins]]
    return found
