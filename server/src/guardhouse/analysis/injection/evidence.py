"""Which stretches of a reading raised its score: each bucket's share is laid over the characters it came from."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.features import (
    BLOCK,
    TOKEN,
    bucket,
    character_grams,
    spaced,
    word_grams,
)
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.lowered import lowered

MOST_SEGMENTS, SHORTEST_SEGMENT = 3, 4
_WORD: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch ``[start, end)`` of a reading and how much it adds to the logit, in thousandths."""

    start: int
    end: int
    milli: int


def segments(head: Head, text: str) -> list[Segment]:
    """Return at most 3 stretches of whole words, at least 4 code points long, that raise the logit most."""
    weights = _laid_out(head, text)
    words = [m.span() for m in _WORD.finditer(text)]
    sums = [float(weights[start:end].sum()) for start, end in words]
    found: list[Segment] = []
    for _ in range(MOST_SEGMENTS):
        best, first, last = _best_run(sums)
        if best <= 0:
            break
        start, end = words[first][0], words[last][1]
        if end - start >= SHORTEST_SEGMENT:
            found.append(Segment(start, end, round(1000 * best)))
        sums[first : last + 1] = [float("-inf")] * (last + 1 - first)
    return found


def _best_run(sums: list[float]) -> tuple[float, int, int]:
    """Return the run of neighbours with the greatest sum (Kadane 1984); the earliest among equals."""
    best, best_first, best_last = 0.0, 0, -1
    running, first = 0.0, 0
    for n, value in enumerate(sums):
        if running <= 0:
            running, first = 0.0, n
        running += value
        if running > best:
            best, best_first, best_last = running, first, n
    return best, best_first, best_last


def _laid_out(head: Head, text: str) -> NDArray[np.float64]:
    """Return the share of the logit that each code point of the text carries."""
    lower = lowered(text)
    weights = np.zeros(len(text))
    for scale, found in (
        (head.scale_characters, character_places(lower)),
        (head.scale_words, word_places(lower)),
    ):
        if not len(found.buckets):
            continue
        distinct, which = np.unique(found.buckets, return_inverse=True)
        lengths = found.ends - found.starts
        unit = scale / len(distinct) ** 0.5
        share = unit * head.weights[distinct] / np.bincount(which, lengths)
        firsts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(found.starts - firsts, lengths)
        weights += np.bincount(places, np.repeat(share[which], lengths), len(text))
    return weights


@dataclass(frozen=True, slots=True)
class Places:
    """Occurrences of buckets of the whole table, each with its stretch ``[start, end)`` of a text."""

    buckets: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def character_places(lower: str) -> Places:
    """Return where the windows of characters of a lower-case text stand."""
    origins = [-1]  # where each code point of the spaced text stands in the text
    words = [m.span() for m in _WORD.finditer(lower)]
    for (start, end), following in pairwise([*words, (len(lower), len(lower))]):
        origins += (*range(start, end), min(end, following[0]))
    origin = np.array(origins)
    found: list[Places] = []
    for n, kept, hashes in character_grams(spaced(lower)):
        first = np.flatnonzero(kept)
        starts = np.maximum(origin[first], 0)
        ends = np.maximum(np.minimum(origin[first + n - 1] + 1, len(lower)), starts + 1)
        found.append(Places(bucket(hashes), starts, ends))
    return _together(found)


def word_places(lower: str) -> Places:
    """Return where the runs of tokens of a lower-case text stand."""
    tokens = list(TOKEN.finditer(lower))
    starts = np.array([m.start() for m in tokens], np.int64)
    ends = np.array([m.end() for m in tokens], np.int64)
    found = [
        Places(BLOCK + bucket(hashes), starts[: len(hashes)], ends[k - 1 :])
        for k, hashes in word_grams([m[0] for m in tokens])
    ]
    return _together(found)


def _together(found: list[Places]) -> Places:
    if not found:
        nothing = np.empty(0, np.int64)
        return Places(nothing, nothing, nothing)
    return Places(
        np.concatenate([one.buckets for one in found]),
        np.concatenate([one.starts for one in found]),
        np.concatenate([one.ends for one in found]),
    )
