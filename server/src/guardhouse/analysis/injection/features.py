"""Exact hashing of texts into sets of character and word n-grams.

All arithmetic is modulo 2^64, so a bucket is the same on every machine. A text becomes a *set* of buckets in two
blocks of 2^18: presence counts, not how often. Method: feature hashing (Weinberger et al. 2009) with a polynomial
rolling hash (Karp and Rabin 1987) and the finaliser of MurmurHash3.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_BITS: Final = 18
BLOCK: Final = 1 << BLOCK_BITS
BUCKETS: Final = 2 * BLOCK
LONGEST_CHARACTERS, LONGEST_WORDS = 5, 3
_WORD: Final = 1 << 64
_PRIME: Final = 0x9E3779B97F4A7C15
_MIX: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_P, _M1, _M2 = np.uint64(_PRIME), np.uint64(_MIX[0]), np.uint64(_MIX[1])
_SHIFT, _TOP = np.uint64(33), np.uint64(64 - BLOCK_BITS)
_SPACE: Final = ord(" ")
TOKEN: Final = re.compile(r"\w+|[<>\[\]#|]")

Hashes = NDArray[np.uint64]
Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """The distinct buckets of each of ``rows`` texts: ``keys`` are sorted ``row * 2^19 + bucket``.

    Buckets below 2^18 are those of characters, the others those of words.
    """

    rows: int
    keys: Keys


def lowered(text: str) -> str:
    """Lower-case a text so that every code point keeps its place (U+0130 alone would become two)."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower()[:1] for c in text)


def buckets(texts: Sequence[str]) -> Buckets:
    """Hash many texts at once; the result of a text does not depend on its neighbours."""
    lower = [lowered(text) for text in texts]
    found = [*_characters(lower), *_words(lower)]
    keys = np.concatenate(found) if found else np.empty(0, np.int64)
    keys.sort()
    return Buckets(len(texts), keys[np.flatnonzero(np.diff(keys, prepend=-1))])


def _characters(texts: Sequence[str]) -> list[Keys]:
    padded = [f" {' '.join(text.split())} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32)
    rows = np.repeat(np.arange(len(padded)), [len(text) for text in padded]) << (BLOCK_BITS + 1)
    values = codes.astype(np.uint64) + np.uint64(1)
    space = codes == _SPACE
    hashes = values
    inner = np.zeros(
        max(len(values) - 1, 0), bool
    )  # whether the positions between first and last hold a space
    found: list[Keys] = []
    for n in range(2, LONGEST_CHARACTERS + 1):
        if len(values) < n:
            break
        hashes = hashes[:-1] * _P + values[n - 1 :]
        if n == 2:  # noqa: PLR2004 - two spaces in a row are the border between two texts
            kept = ~(space[:-1] & space[1:])
        else:
            inner = inner[:-1] | space[n - 2 : -1]
            kept = ~inner
        found.append(rows[: len(hashes)][kept] | _bucket(hashes[kept] + np.uint64(n * 0x1000003)))
    return found


def _words(texts: Sequence[str]) -> list[Keys]:
    tokens = [TOKEN.findall(text) for text in texts]
    value_of = {token: zlib.crc32(token.encode("utf-8", "replace")) for row in tokens for token in set(row)}
    values = np.array([value_of[token] for row in tokens for token in row], np.uint64)
    rows = np.repeat(np.arange(len(tokens)), [len(row) for row in tokens]) << (BLOCK_BITS + 1)
    hashes = values
    found: list[Keys] = []
    for k in range(1, LONGEST_WORDS + 1):
        if len(values) < k:
            break
        if k > 1:
            hashes = hashes[:-1] * _P + values[k - 1 :]
        same = rows[: len(hashes)] == rows[k - 1 :]
        found.append(rows[: len(hashes)][same] | BLOCK | _bucket(hashes[same] + np.uint64(101 * k)))
    return found


def _bucket(hashes: Hashes) -> Keys:
    hashes = hashes ^ (hashes >> _SHIFT)
    hashes = hashes * _M1
    hashes = hashes ^ (hashes >> _SHIFT)
    hashes = hashes * _M2
    hashes = hashes ^ (hashes >> _SHIFT)
    return (hashes >> _TOP).astype(np.int64)


def character_bucket(window: str) -> int:
    """Return the bucket of one window of lower-case characters, as ``buckets`` does for all of a text."""
    return _bucket_of(
        sum((ord(c) + 1) * pow(_PRIME, len(window) - 1 - n, _WORD) for n, c in enumerate(window))
        + len(window) * 0x1000003
    )


def word_bucket(values: Sequence[int]) -> int:
    """Return the bucket, inside its block, of one run of tokens by their CRC-32."""
    return _bucket_of(
        sum(value * pow(_PRIME, len(values) - 1 - n, _WORD) for n, value in enumerate(values))
        + 101 * len(values)
    )


def _bucket_of(value: int) -> int:
    value %= _WORD
    for factor in _MIX:
        value ^= value >> 33
        value = value * factor % _WORD
    return (value ^ value >> 33) >> (64 - BLOCK_BITS)
