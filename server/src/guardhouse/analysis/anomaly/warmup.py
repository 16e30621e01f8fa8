"""The end of a warm-up: lines that do not belong are set aside, the rest calibrates and teaches the model.

Calibration by four contiguous blocks (cross-conformal: Vovk 2015): each block is scored by a model of the other three.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.coder import BYTES, Coder
from guardhouse.analysis.anomaly.line_model import coder_named, line_scores

BLOCKS: Final = 4
ROUNDS: Final = 3
MOST_WEIGHT: Final = 64
_WIDTHS: Final = 3
_LEAST_WIDTH: Final = 8000
_MOST_ASIDE: Final = 0.1


def clean(lines: Sequence[bytes]) -> set[bytes]:
    """The distinct lines to set aside: dearer, told from the others alone, than three widths of the middle half.

    At most a tenth of the events; the dearest go first.
    """
    counts = Counter(lines)
    distinct = list(counts)
    aside: set[bytes] = set()
    for _ in range(ROUNDS):
        kept = [line for line in distinct if line not in aside]
        coder = Coder(BYTES)
        coder.learn(kept, [min(counts[line], MOST_WEIGHT) for line in kept])
        cost = dict(zip(kept, coder.leave_one_out(kept).totals().tolist(), strict=True))
        left = [line for line in distinct if line in aside]
        cost |= dict(zip(left, coder.costs(left).totals().tolist(), strict=True))
        found = _dear(cost, counts)
        if found == aside:
            break
        aside = found
    return aside


def _dear(cost: dict[bytes, int], counts: Counter[bytes]) -> set[bytes]:
    every = np.sort(np.repeat(list(cost.values()), [counts[line] for line in cost]))
    low, high = int(every[every.size // 4]), int(every[3 * every.size // 4])
    limit = high + _WIDTHS * max(high - low, _LEAST_WIDTH)
    found: set[bytes] = set()
    room = int(_MOST_ASIDE * every.size)
    for line in sorted(cost, key=lambda line: (-cost[line], line)):
        if cost[line] <= limit or counts[line] > room:
            break
        found.add(line)
        room -= counts[line]
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores (families, events) of the warm-up's events; which of them count, and which were first sightings."""

    scores: NDArray[np.int64]
    counted: NDArray[np.bool_]
    first: NDArray[np.bool_]


def calibrate(lines: Sequence[bytes], coder_name: str) -> Calibration:
    """Score each of four blocks by a model of the other three.

    A line that the other blocks lack is a first sighting where it first occurs in its block; its repeats there are
    not counted.
    """
    scores: list[NDArray[np.int64]] = []
    counted = np.ones(len(lines), np.bool_)
    first = np.zeros(len(lines), np.bool_)
    for begin, end in blocks(len(lines)):
        counts = Counter(lines[:begin]) + Counter(lines[end:])
        coder = coder_named(coder_name)
        coder.learn(list(counts), [min(count, MOST_WEIGHT) for count in counts.values()])
        block = list(lines[begin:end])
        number = {line: place for place, line in enumerate(dict.fromkeys(block))}
        of_distinct = line_scores(coder, list(number))
        scores.append(of_distinct[:, [number[line] for line in block]])
        met: set[bytes] = set()
        for place, line in enumerate(block, start=begin):
            if line not in counts:
                first[place] = line not in met
                counted[place] = line not in met
                met.add(line)
    return Calibration(np.concatenate(scores, axis=1), counted, first)


def blocks(count: int) -> list[tuple[int, int]]:
    """Begin and end of the four contiguous blocks of ``count`` events."""
    edges = [count * part // BLOCKS for part in range(BLOCKS + 1)]
    return list(pairwise(edges))
