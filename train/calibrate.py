"""Knots of the score from what sources never seen in training got: each source counts equally, each band is its own.

A band with few harmless texts leans on all of them: (n * own + 500 * all) / (n + 500).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.injection.calibrate import BORDERS

SHARES: Final = (
    0.50,
    0.20,
    0.12,
    0.08,
    0.04,
    0.01,
    0.002,
)  # of harmless text at or above the first seven knots
ATTACK_SHARE: Final = 0.75  # of attacks at or below the last knot
_LEANING: Final = 500
_APART, _LAST_APART = 50, 1_000  # logit milli


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the head said of a text it had not been trained beside: logit (milli) of its base reading, with rules."""

    source: str
    label: int
    band: int
    logit: int


def knots(outcomes: Sequence[Outcome], channel: str) -> list[list[int]]:
    """Return the eight rising knots, logit milli, of each band of a channel."""
    benign = [o for o in outcomes if not o.label]
    attack = [o.logit for o in outcomes if o.label]
    top = float(np.quantile(attack, ATTACK_SHARE))
    everywhere = _quantiles(benign)
    bands: list[list[int]] = []
    for band in range(len(BORDERS[channel]) + 1):
        own = [o for o in benign if o.band == band]
        values = everywhere
        if own:
            values = (len(own) * _quantiles(own) + _LEANING * everywhere) / (len(own) + _LEANING)
        bands.append(_rising([round(value) for value in values], round(top)))
    return bands


def _quantiles(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    logits = np.array([o.logit for o in outcomes], np.float64)
    counts: dict[str, int] = {}
    for o in outcomes:
        counts[o.source] = counts.get(o.source, 0) + 1
    weights = np.array([1.0 / counts[o.source] for o in outcomes])
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    return np.array(
        [logits[order][min(int(np.searchsorted(reached, share)), len(order) - 1)] for share in SHARES]
    )


def _rising(values: list[int], top: int) -> list[int]:
    found = [values[0]]
    for value in values[1:]:
        found.append(max(value, found[-1] + _APART))
    return [*found, max(top, found[-1] + _LAST_APART)]
