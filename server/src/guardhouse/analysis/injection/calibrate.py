"""From a logit to a score that means the same in both channels and at every length.

Knots were set where a known share of benign text from sources never seen in training lies (0.50: 4 %, 0.70: 1 %);
between them the score is linear in the logit. Integers in, integers out.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

LOWEST, HIGHEST = 1, 999  # thousandths; 0 is for empty text, 1000 for hard findings
SCORES: Final = (20, 100, 200, 300, 500, 700, 850, 970)  # what the knots are worth, in thousandths
BORDERS: Final[Mapping[str, tuple[int, ...]]] = {"user": (40, 120, 400, 1_600), "external": (3, 10, 30)}


@dataclass(frozen=True, slots=True)
class Curve:
    """Per band the logits (milli) of the eight knots, rising."""

    bands: tuple[tuple[int, ...], ...]


def curve_of(said: Sequence[Sequence[Any]]) -> Curve:
    """Read the knots of a channel as they stand in a model file's header.

    Raises:
        ValueError: A band has not eight rising whole numbers.
    """
    bands = tuple(tuple(int(knot) for knot in band) for band in said)
    for band in bands:
        if len(band) != len(SCORES) or any(a >= b for a, b in pairwise(band)):
            raise ValueError(f"a band needs {len(SCORES)} rising knots, got {band}")
    return Curve(bands)


def band_of(channel: str, size: int) -> int:
    """Return the band of a view: user by code points, external by number of windows; borders belong below."""
    borders = BORDERS[channel]
    return next((n for n, border in enumerate(borders) if size <= border), len(borders))


def score_milli(curve: Curve, band: int, logit_milli: int) -> int:
    """Return the score in thousandths, 1..999, never falling when the logit rises."""
    knots = curve.bands[band]
    right = min(max(bisect_right(knots, logit_milli), 1), len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    rise = SCORES[right] - SCORES[right - 1]
    score = SCORES[right - 1] + (rise * (logit_milli - low)) // (high - low)
    return min(max(score, LOWEST), HIGHEST)


def logit_milli(curve: Curve, band: int, score: int) -> int:
    """Return the logit (milli) of a score in thousandths: the least that ``score_milli`` turns into it, or near it."""
    knots = curve.bands[band]
    right = min(max(bisect_right(SCORES, score), 1), len(knots) - 1)
    rise, run = SCORES[right] - SCORES[right - 1], knots[right] - knots[right - 1]
    return knots[right - 1] - (run * (SCORES[right - 1] - score)) // rise


def knots_used(curve: Curve, band: int, logit_milli: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the two knots (logit milli, score milli) that a score was read between."""
    knots = curve.bands[band]
    right = min(max(bisect_right(knots, logit_milli), 1), len(knots) - 1)
    return (knots[right - 1], SCORES[right - 1]), (knots[right], SCORES[right])
