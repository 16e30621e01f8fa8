"""How rare a score is: the rank among past scores, continued by an exponential tail above the tenth largest.

Everything is decided on *surprise*, the integer ``round(-10^6 * log10 p)``: 0 is p = 1, 12,000,000 is p = 10^-12.
The parameters of a tail are frozen and rounded when it is made, so equal reservoirs give equal surprise everywhere.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

UNIT: Final = 1_000_000
"""Surprise of one decimal digit."""
MOST: Final = 12 * UNIT
TWO: Final = 301_030
"""Surprise of p = 1/2: what the smaller of two p-values gives up."""
SIZE: Final = 2000
"""Scores a reservoir keeps."""
FEW: Final = 200
"""Below this size the tail is never lighter than the ranks."""
_TAIL_FROM: Final = 20
_RANK: Final = 10
_LEAST_LOG: Final = 0.5
_LN_10: Final = 2.302585092994046
_FINE: Final = 1000
CENSOR_P: Final = 0.005
"""Where an admitted score that looks rare is cut off and counted as censored."""


def surprise_of(p: float) -> int:
    """The surprise of a p-value; anything below 10^-12 counts as 10^-12."""
    return MOST if p <= 0 else min(MOST, max(0, round(-UNIT * math.log10(p))))


def p_of(surprise: int) -> float:
    """The p-value of a surprise, for people to read."""
    return float(10.0 ** (-surprise / UNIT))


@dataclass(frozen=True, slots=True)
class Tail:
    """What a reservoir says about new scores; frozen. ``ordered`` ascends, ``ranks[c]`` is the surprise of c above."""

    ordered: NDArray[np.int64]
    ranks: NDArray[np.int64]
    top: int
    """k, the scores the tail was fitted on; 0 when there is no tail."""
    base: int
    """u, the score the tail starts from."""
    beta: float
    """Mean excess over u in the units of the score, with three decimals."""
    begin: int
    """Scores above this one, the tenth largest, may be continued by the tail."""
    guard: float

    def surprise(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """The surprise of each score: that of its rank, or of the tail where this is larger."""
        found = self.ranks[self.ordered.size - np.searchsorted(self.ordered, scores, side="left")]
        if self.top:
            tail = np.floor(self._head() + (scores - self.base) * (UNIT / (self.beta * _LN_10)))
            capped = np.minimum(tail, MOST).astype(np.int64)
            found = np.where((scores > self.begin) & (capped > found), capped, found)
        return found

    def extrapolated(self, score: int) -> bool:
        """Whether the surprise of this score comes from the tail and not from ranks alone."""
        rank = int(self.ranks[self.ordered.size - np.searchsorted(self.ordered, score, side="left")])
        return int(self.surprise(np.array([score]))[0]) > rank

    def cap(self) -> int:
        """The largest score that is admitted uncensored: the one whose tail p is 0.005."""
        if not self.top:
            return int(np.iinfo(np.int64).max)
        share = self.top / self.ordered.size
        return self.base + max(0, round(self.beta * math.log(max(1.0, share / CENSOR_P))))

    @property
    def median(self) -> int:
        """The middle score (the lower one of two), 0 of an empty reservoir."""
        return int(self.ordered[(self.ordered.size - 1) // 2]) if self.ordered.size else 0

    def _head(self) -> int:
        return round(UNIT * math.log10(self.ordered.size / self.top))


def fit_tail(scores: NDArray[np.int64], censored: NDArray[np.bool_], floor: int, guard: float) -> Tail:
    """Make the tail of a reservoir.

    ``floor`` is the smallest mean excess in units of the score; ``guard`` keeps the tail above that share of the
    empirical rank at every observed point (1 while there are fewer than 200 scores), so that scores with few distinct
    values do not give absurd p-values. Needs 20 scores; with fewer the ranks stand alone.
    """
    order = np.argsort(scores, kind="stable")
    ordered, cut = scores[order], censored[order]
    n = int(ordered.size)
    guard = 1.0 if n < FEW else guard
    ranks = _surprise_of_ranks(n)
    if n < _TAIL_FROM:
        return Tail(ordered, ranks, 0, 0, 1.0, 0, guard)
    k = min(n - 1, max(_RANK, min(256, n // 10)))
    base = int(ordered[n - k - 1])
    excess = (ordered[n - k :] - base)[::-1].astype(np.float64)
    room = np.log(k * (n + 1) / (n * guard * np.arange(1, k + 1)))
    usable = room > _LEAST_LOG
    beta = max(
        float(excess.sum()) / max(1, int(np.count_nonzero(~cut[n - k :]))),
        float(np.max(excess[usable] / room[usable], initial=0.0)),
        float(floor),
    )
    beta = math.ceil(beta * _FINE - 1e-6) / _FINE
    return Tail(ordered, ranks, k, base, beta, int(ordered[n - _RANK]), guard)


@lru_cache(maxsize=64)
def _surprise_of_ranks(n: int) -> NDArray[np.int64]:
    """Entry c: the surprise of a score that c of n past scores reach, (c + 1) / (n + 1)."""
    return np.round(-UNIT * np.log10(np.arange(1, n + 2) / (n + 1))).astype(np.int64)


class Reservoir:
    """The last scores of one family: score, whether it was cut off, and the position it came from."""

    __slots__ = ("censored", "floor", "origins", "scores", "size")

    def __init__(self, floor: int, size: int = SIZE) -> None:
        self.floor = floor
        self.size = size
        self.scores = np.empty(0, np.int64)
        self.censored = np.empty(0, np.bool_)
        self.origins = np.empty(0, np.int64)

    def __len__(self) -> int:
        return int(self.scores.size)

    def admit(
        self, scores: NDArray[np.int64], censored: NDArray[np.bool_], origins: NDArray[np.int64]
    ) -> None:
        """Add scores in their order; the oldest leave when there are more than ``size``."""
        self.scores = np.concatenate([self.scores, scores])[-self.size :]
        self.censored = np.concatenate([self.censored, censored])[-self.size :]
        self.origins = np.concatenate([self.origins, origins])[-self.size :]

    def admit_plainly(self, scores: NDArray[np.int64], origins: NDArray[np.int64]) -> None:
        """Add scores of which none is cut off."""
        self.admit(scores, np.zeros(scores.size, np.bool_), origins)

    def forget(self, origins: NDArray[np.int64]) -> None:
        """Take the scores out that came from these positions."""
        kept = ~np.isin(self.origins, origins)
        self.scores, self.censored, self.origins = (
            self.scores[kept],
            self.censored[kept],
            self.origins[kept],
        )

    def tail(self, guard: float) -> Tail:
        """The tail of the scores held now."""
        return fit_tail(self.scores, self.censored, self.floor, guard)

    def to_state(self) -> dict[str, Any]:
        """The reservoir as numbers and arrays for ``snapshot``."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The reservoir that ``to_state`` described."""
        made = cls(state["floor"], state["size"])
        made.scores, made.censored, made.origins = state["scores"], state["censored"], state["origins"]
        return made
