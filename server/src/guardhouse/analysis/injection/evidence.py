"""Which stretches of a reading raised its score: each bucket's share is laid over the characters it came from."""

import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.features import (
    BLOCK,
    LONGEST_CHARACTERS,
    LONGEST_WORDS,
    TOKEN,
    character_bucket,
    lowered,
    word_bucket,
)
from guardhouse.analysis.injection.head import Head

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
    for scale, occurrences in (
        (head.scale_characters, _character_places(lower)),
        (head.scale_words, _word_places(lower)),
    ):
        if not occurrences:
            continue
        unit = scale / len(occurrences) ** 0.5
        for bucket, places in occurrences.items():
            share = unit * int(head.weights[bucket]) / sum(end - start for start, end in places)
            for start, end in places:
                weights[start:end] += share
    return weights


def _character_places(lower: str) -> dict[int, list[tuple[int, int]]]:
    places = [-1]
    padded = [" "]
    words = [m.span() for m in _WORD.finditer(lower)]
    for (start, end), following in pairwise([*words, (len(lower), len(lower))]):
        padded += (*lower[start:end], " ")
        places += (*range(start, end), min(end, following[0]))
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    joined = "".join(padded)
    for n in range(2, LONGEST_CHARACTERS + 1):
        for i in range(len(joined) - n + 1):
            window = joined[i : i + n]
            if " " not in window[1:-1] and window.strip():
                start, end = max(places[i], 0), min(places[i + n - 1] + 1, len(lower))
                found[character_bucket(window)].append((start, max(end, start + 1)))
    return found


def _word_places(lower: str) -> dict[int, list[tuple[int, int]]]:
    tokens = [(zlib.crc32(m[0].encode("utf-8", "replace")), *m.span()) for m in TOKEN.finditer(lower)]
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for k in range(1, LONGEST_WORDS + 1):
        for i in range(len(tokens) - k + 1):
            run = tokens[i : i + k]
            found[BLOCK + word_bucket([value for value, _, _ in run])].append((run[0][1], run[-1][2]))
    return found
