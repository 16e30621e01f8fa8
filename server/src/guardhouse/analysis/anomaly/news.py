"""How usual it is that a session has a step never seen before, and how rare such sessions look.

A new step is not news in a stream where new steps are usual: p of a session with an unknown step is at least r times
its p among first sightings, r being the rate of first sightings.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.session_model import Symbols
from guardhouse.analysis.anomaly.tail import surprise_of

RECENT: Final = (8192, 2048, 512)
"""Sessions over which the rate is taken; the smallest rate counts, because it falls as a stream settles."""
NOVEL_SIZE: Final = 500
FEWEST_NOVEL: Final = 20
MOST_SEEN: Final = 1_000_000


class News:
    """The symbols seen so far, and the first sightings among the last sessions."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._first = np.empty(
            0, np.bool_
        )  # of the last 8,192 sessions: whether each was the first with some symbol
        self._surprises = np.empty(0, np.int64)  # of the last 500 of those

    def begin(self, sessions: Sequence[Symbols]) -> None:
        """Note the sessions of a warm-up."""
        self._first = self._sightings(sessions)

    def note(self, sessions: Sequence[Symbols], surprises: NDArray[np.int64]) -> None:
        """Note judged sessions."""
        first = self._sightings(sessions)
        self._first = np.concatenate([self._first, first])[-RECENT[0] :]
        self._surprises = np.concatenate([self._surprises, surprises[first]])[-NOVEL_SIZE:]

    def bound(self, surprises: NDArray[np.int64]) -> NDArray[np.int64]:
        """The largest surprise for sessions with unknown symbols: that of r * p, p by rank among first sightings."""
        rate = max(
            surprise_of((1 + int(np.count_nonzero(self._first[-size:]))) / (1 + min(size, self._first.size)))
            for size in RECENT
        )
        held = self._surprises.size
        if held < FEWEST_NOVEL:
            return np.full(surprises.shape, rate + surprise_of(1 / (1 + held)))
        above = held - np.searchsorted(np.sort(self._surprises), surprises, side="left")
        return np.array([rate + surprise_of((1 + count) / (1 + held)) for count in above.tolist()], np.int64)

    def _sightings(self, sessions: Sequence[Symbols]) -> NDArray[np.bool_]:
        first = []
        for session in sessions:
            symbols = set(session)
            first.append(not symbols <= self._seen)
            if len(self._seen) < MOST_SEEN:
                self._seen |= symbols
        return np.array(first, np.bool_)

    def to_state(self) -> dict[str, Any]:
        """Everything for `snapshot`."""
        seen = np.array(sorted(self._seen), np.int64)
        return {"seen": seen, "first": self._first, "surprises": self._surprises}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """What `to_state` described."""
        made = cls()
        made._seen = set(state["seen"].tolist())
        made._first, made._surprises = state["first"], state["surprises"]
        return made
