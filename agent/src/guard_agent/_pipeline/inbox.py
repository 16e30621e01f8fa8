"""Where calls of the app leave their items: one queue per class, appended to from any thread without a lock.

Items in here are as the app gave them; the worker takes them out a few at a time.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from guard_agent._pipeline.classes import (
    ATTACK,
    EVENTS,
    GIVES_WAY_FIRST,
    LANE_OF,
    METRIC,
    METRICS,
    NOISE,
    NORMAL,
)
from guard_agent._pipeline.ledger import Ledger

RAW_BYTES: Final = 2048
"""What an item that is not serialised yet counts against the memory bound."""


class Inbox:
    """The queues of one instance; `limit` is the most items in all of them together, `mark` wakes the worker."""

    def __init__(self, ledger: Ledger, *, limit: int, mark: int) -> None:
        self.attack: deque[Any] = deque()
        self.normal: deque[Any] = deque()
        self.noise: deque[Any] = deque()
        self.metric: deque[Any] = deque()
        self.queues: Final = {
            ATTACK: self.attack,
            NORMAL: self.normal,
            NOISE: self.noise,
            METRIC: self.metric,
        }
        self.limit = max(1, limit)
        self.mark = max(1, min(mark, self.limit))
        self._ledger = ledger
        ledger.watch(EVENTS, (self.attack, self.normal, self.noise))
        ledger.watch(METRICS, (self.metric,))

    def __len__(self) -> int:
        return len(self.attack) + len(self.normal) + len(self.noise) + len(self.metric)

    def take(self, kind: str, most: int) -> list[Any]:
        """Take up to `most` of the oldest items of a class."""
        queue = self.queues[kind]
        return self._ledger.take(LANE_OF[kind], queue, most) if queue else []

    def make_room(self, wanted: int = 0, told: Callable[[str, int], None] | None = None) -> None:
        """Drop the oldest of the class that gives way first until `wanted` more items fit; `told` hears of each."""
        excess = len(self) + wanted - self.limit
        for kind in GIVES_WAY_FIRST:
            if excess <= 0:
                return
            dropped = self._ledger.evict(LANE_OF[kind], self.queues[kind], excess)
            excess -= dropped
            if dropped and told is not None:
                told(kind, dropped)
