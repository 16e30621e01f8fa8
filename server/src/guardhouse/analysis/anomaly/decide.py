"""From rarity to a decision: combination of families, control of false discoveries, severity, and the alert budget.

Sources: Bonferroni with weights (Holm 1979; Genovese, Roeder, Wasserman 2006); Benjamini and Hochberg 1995. All
comparisons are made on integer surprise (see ``tail``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.tail import UNIT

Severity = str
SEVERITIES: Final = ("low", "medium", "high", "critical")
_CRITICAL, _HIGH, _MEDIUM = 9 * UNIT, 6 * UNIT, 4 * UNIT
MANY_EVENTS: Final = 50
"""An incident with that many events is one step more severe."""
_DAY_US: Final = 86_400_000_000
_TOKEN: Final = _DAY_US
"""The bucket counts in parts of a token so small that a microsecond refills a whole number of them."""


def combine(surprises: Sequence[NDArray[np.int64]], weights: Sequence[float]) -> NDArray[np.int64]:
    """Weighted Bonferroni: the surprise of ``min(1, min p_i / w_i)``; the weights add up to 1."""
    lost = [round(-UNIT * math.log10(weight)) for weight in weights]
    best = surprises[0] - lost[0]
    for surprise, loss in zip(surprises[1:], lost[1:], strict=True):
        best = np.maximum(best, surprise - loss)
    return np.maximum(best, 0)


def rejected(surprise: NDArray[np.int64], q: float) -> NDArray[np.bool_]:
    """Benjamini-Hochberg at level ``q`` over the events of one decision block."""
    n = surprise.size
    if not n:
        return np.zeros(0, np.bool_)
    needed = np.round(-UNIT * np.log10(q * np.arange(1, n + 1) / n)).astype(np.int64)
    passed = np.flatnonzero(np.sort(surprise)[::-1] >= needed)
    if not passed.size:
        return np.zeros(n, np.bool_)
    chosen: NDArray[np.bool_] = surprise >= max(int(np.sort(surprise)[::-1][passed[-1]]), 1)
    return chosen


def severity(surprise: int, *, pinned: bool = False, events: int = 1) -> Severity:
    """How bad: by surprise, at least high for a pinned template, one step up for an incident of 50 events."""
    step = (surprise >= _MEDIUM) + (surprise >= _HIGH) + (surprise >= _CRITICAL)
    if pinned:
        step = max(step, 2)
    if events >= MANY_EVENTS:
        step = min(step + 1, 3)
    return SEVERITIES[step]


@dataclass(slots=True)
class Budget:
    """A token bucket in event time: holds a quarter of a day's alerts, refilled evenly over the day."""

    per_day: int
    left: int = -1
    at_us: int = 0

    def spend(self, time_us: int) -> bool:
        """Take a token at this event time; False when there is none. Time that runs backwards refills nothing."""
        full = -(-self.per_day // 4) * _TOKEN
        if self.left < 0:
            self.left, self.at_us = full, time_us
        if time_us > self.at_us:
            self.left = min(full, self.left + (time_us - self.at_us) * self.per_day)
            self.at_us = time_us
        if self.left < _TOKEN:
            return False
        self.left -= _TOKEN
        return True

    def to_state(self) -> dict[str, Any]:
        """The bucket for ``snapshot``."""
        return {"per_day": self.per_day, "left": self.left, "at_us": self.at_us}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The bucket that ``to_state`` described."""
        return cls(state["per_day"], state["left"], state["at_us"])
