"""The hashing of texts a second time: window by window, in Python's whole numbers, as the format is described."""

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from guardhouse.analysis.injection.features import BLOCK

Found = Mapping[int, list[tuple[int, int]]]
"""Buckets of the whole table, each with the stretches of the lower-case text that it comes from."""
_MODULUS = 1 << 64
_PRIME = 0x9E3779B97F4A7C15
_MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_TOKEN = re.compile(r"\w+|[<>\[\]#|]")


def character_bucket(window: str) -> int:
    return _bucket([ord(c) + 1 for c in window], len(window) * 0x1000003)


def word_bucket(values: Sequence[int]) -> int:
    return _bucket(values, 101 * len(values))


def _bucket(values: Sequence[int], salt: int) -> int:
    value = 0
    for one in values:
        value = (value * _PRIME + one) % _MODULUS
    value = (value + salt) % _MODULUS
    for factor in _MIX:
        value ^= value >> 33
        value = value * factor % _MODULUS
    return (value ^ value >> 33) >> 46


def character_places(lower: str) -> Found:
    places = [-1]
    padded = [" "]
    words = [m.span() for m in re.finditer(r"\S+", lower)]
    for (start, end), following in pairwise([*words, (len(lower), len(lower))]):
        padded += (*lower[start:end], " ")
        places += (*range(start, end), min(end, following[0]))
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    joined = "".join(padded)
    for n in range(2, 6):
        for i in range(len(joined) - n + 1):
            window = joined[i : i + n]
            if " " not in window[1:-1] and window.strip():
                start, end = max(places[i], 0), min(places[i + n - 1] + 1, len(lower))
                found[character_bucket(window)].append((start, max(end, start + 1)))
    return found


def word_places(lower: str) -> Found:
    tokens = [(zlib.crc32(m[0].encode("utf-8", "replace")), *m.span()) for m in _TOKEN.finditer(lower)]
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for k in range(1, 4):
        for i in range(len(tokens) - k + 1):
            run = tokens[i : i + k]
            found[BLOCK + word_bucket([value for value, _, _ in run])].append((run[0][1], run[-1][2]))
    return found
