"""Exact hashing of texts into sets of character and word n-grams.

All arithmetic is modulo 2^64, so a bucket is the same on every machine. A text becomes a *set* of buckets in two
blocks of 2^18: presence counts, not how often. Method: feature hashing (Weinberger et al. 2009) with a polynomial
rolling hash (Karp and Rabin 1987) and the finaliser of MurmurHash3.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.lowered import lowered

BLOCK_BITS: Final = 18
BLOCK: Final = 1 << BLOCK_BITS
BUCKETS: Final = 2 * BLOCK
LONGEST_CHARACTERS, LONGEST_WORDS = 5, 3
_P, _M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT, _TOP = np.uint64(33), np.uint64(64 - BLOCK_BITS)
_ONE: Final = np.uint64(1)
_SPACE: Final = ord(" ")
_FEW_ROWS: Final = 1 << (31 - BLOCK_BITS - 1)  # whose keys fit into 32 bits
TOKEN: Final = re.compile(r"\w+|[<>\[\]#|]")

Hashes = NDArray[np.uint64]
Keys = NDArray[np.int64] | NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Buckets:
    """The distinct buckets of each of ``rows`` texts: ``keys`` are sorted ``row * 2^19 + bucket``.

    Buckets below 2^18 are those of characters, the others those of words.
    """

    rows: int
    keys: Keys


def buckets(texts: Sequence[str]) -> Buckets:
    """Hash many texts at once; the result of a text does not depend on its neighbours."""
    lower = [lowered(text) for text in texts]
    padded = [spaced(text) for text in lower]
    tokens = [TOKEN.findall(text) for text in lower]
    rows: list[NDArray[np.int64]] = []
    hashes: list[Hashes] = []
    of_characters = _rows([len(text) for text in padded])
    for n, kept, found in character_grams("".join(padded)):
        rows.append(of_characters[: len(of_characters) + 1 - n][kept])
        hashes.append(found)
    of_words = _rows([len(row) for row in tokens]) | BLOCK
    for k, found in word_grams([token for row in tokens for token in row]):
        first, last = of_words[: len(found)], of_words[k - 1 :]
        same = first == last
        rows.append(first[same])
        hashes.append(found[same])
    keys = np.concatenate(rows) | bucket(np.concatenate(hashes)) if rows else np.empty(0, np.int64)
    if len(texts) < _FEW_ROWS:
        keys = keys.astype(np.int32)  # half as much to sort
    keys.sort()
    new = np.empty(len(keys), bool)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return Buckets(len(texts), keys[new])


def spaced(text: str) -> str:
    """Return a text with one space between words, and one before and after them."""
    return f" {' '.join(text.split())} "


def _rows(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(lengths)), lengths) << (BLOCK_BITS + 1)


def character_grams(padded: str) -> Iterator[tuple[int, NDArray[np.bool_], Hashes]]:
    """Yield for n = 2..5 which windows of n code points count, and the hashes of those.

    A window counts whose interior holds no space; two spaces in a row are the border between two texts.
    """
    codes = np.frombuffer(padded.encode("utf-32-le"), np.uint32)
    values = codes.astype(np.uint64) + _ONE
    word = codes != _SPACE
    hashes = values
    kept = word[:-1] | word[1:]
    inner = np.ones(max(len(values) - 1, 0), bool)  # whether no position between first and last is a space
    for n in range(2, LONGEST_CHARACTERS + 1):
        if len(values) < n:
            break
        hashes = hashes[:-1] * _P
        hashes += values[n - 1 :]
        if n > 2:  # noqa: PLR2004 - two have no interior
            inner = kept = inner[:-1] & word[n - 2 : -1]
        yield n, kept, hashes[kept] + np.uint64(n * 0x1000003)


def word_grams(tokens: Sequence[str]) -> Iterator[tuple[int, Hashes]]:
    """Yield for k = 1..3 the hashes of all runs of k tokens."""
    value_of = {token: zlib.crc32(token.encode("utf-8", "replace")) for token in set(tokens)}
    values = np.fromiter(map(value_of.__getitem__, tokens), np.uint64, len(tokens))
    hashes = values
    for k in range(1, LONGEST_WORDS + 1):
        if len(values) < k:
            break
        if k > 1:
            hashes = hashes[:-1] * _P
            hashes += values[k - 1 :]
        yield k, hashes + np.uint64(101 * k)


def bucket(hashes: Hashes) -> NDArray[np.int64]:
    """Return the bucket, inside its block, of each hash; ``hashes`` is changed."""
    hashes ^= hashes >> _SHIFT
    hashes *= _M1
    hashes ^= hashes >> _SHIFT
    hashes *= _M2
    hashes ^= hashes >> _SHIFT
    return (hashes >> _TOP).astype(np.int64)
