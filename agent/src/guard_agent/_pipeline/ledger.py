"""What became of every item, counted: the equation of the delivery ledger.

Invariant, per lane and at any instant: captured = delivered + duplicates + rejected + merged + the sum of dropped + the
sum of pending. Every method moves items between places, so no call can break it.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sized
from typing import Any, Final

from guard_agent._pipeline.classes import EVENTS, METRICS

REASONS: Final = (
    "overflow",
    "spool_evicted",
    "expired",
    "sampled",
    "before_send",
    "invalid",
    "disabled",
    "spool_corrupt",
    "shutdown_deadline",
)
PLACES: Final = ("memory", "spool", "redis", "in_flight")
OUTCOMES: Final = ("delivered", "duplicates", "rejected", "merged")
LANES: Final = (EVENTS, METRICS)


class Ledger:
    """The counts of one instance, since it started. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may ask in the middle of a call
        self._settled = {lane: dict.fromkeys((*OUTCOMES, *REASONS), 0) for lane in LANES}
        self._pending = {lane: dict.fromkeys(PLACES, 0) for lane in LANES}
        self._waiting: dict[str, tuple[Sized, ...]] = dict.fromkeys(LANES, ())

    def watch(self, lane: str, queues: tuple[Sized, ...]) -> None:
        """Count what stands in these queues as captured and pending in memory."""
        self._waiting[lane] = queues

    def take(self, lane: str, queue: "deque[Any]", most: int) -> list[Any]:
        """Take up to `most` items out of a watched queue; they stay pending in memory."""
        with self._lock:
            taken: list[Any] = []
            try:
                while len(taken) < most:
                    taken.append(queue.popleft())
            except IndexError:
                pass
            self._pending[lane]["memory"] += len(taken)
        return taken

    def refuse(self, lane: str, reason: str, count: int = 1) -> None:
        """Count items that were captured and never kept."""
        with self._lock:
            self._settled[lane][reason] += count

    def keep(self, lane: str, place: str, count: int = 1) -> None:
        """Count items that were captured and kept in one step."""
        with self._lock:
            self._pending[lane][place] += count

    def move(self, lane: str, source: str, target: str, count: int) -> None:
        """Move pending items to another place (`PLACES`), or to what became of them (an outcome or a reason)."""
        with self._lock:
            self._pending[lane][source] -= count
            targets = self._pending if target in PLACES else self._settled
            targets[lane][target] += count

    def evict(self, lane: str, queue: "deque[Any]", count: int) -> int:
        """Drop up to `count` of the oldest items of a watched queue as `overflow`; returns how many."""
        with self._lock:
            dropped = 0
            try:
                while dropped < count:
                    queue.popleft()
                    dropped += 1
            except IndexError:
                pass
            self._settled[lane]["overflow"] += dropped
        return dropped

    def snapshot(self) -> dict[str, Any]:
        """Return the ledger as it goes over the wire: per lane captured, outcomes, dropped, pending."""
        with self._lock:
            return {lane: self._read(lane) for lane in LANES}

    @staticmethod
    def total(ledgers: "list[Ledger]") -> dict[str, Any]:
        """Return the sum of several ledgers, in the shape of `snapshot`."""
        snapshots = [ledger.snapshot() for ledger in ledgers]
        return {lane: _sum([snapshot[lane] for snapshot in snapshots]) for lane in LANES}

    def settled(self) -> dict[str, dict[str, int]]:
        """Return outcomes and losses per lane, to be persisted."""
        with self._lock:
            return {lane: dict(counts) for lane, counts in self._settled.items()}

    def restore(self, settled: Mapping[str, Mapping[str, int]]) -> None:
        """Begin with the outcomes and losses of an earlier process of this instance; unknown names are left out."""
        with self._lock:
            for lane, counts in self._settled.items():
                for name in counts:
                    counts[name] = int(settled.get(lane, {}).get(name, 0))

    def captured(self, lane: str) -> int:
        """Return how many items a lane was given."""
        with self._lock:
            return int(self._read(lane)["captured"])

    def pending(self, lane: str) -> int:
        """Return how many items of a lane have no outcome yet."""
        with self._lock:
            return sum(self._read(lane)["pending"].values())

    def _read(self, lane: str) -> dict[str, Any]:
        settled = self._settled[lane]
        pending = dict(self._pending[lane])
        pending["memory"] += sum(len(queue) for queue in self._waiting[lane])
        dropped = {reason: settled[reason] for reason in REASONS}
        outcomes = {name: settled[name] for name in OUTCOMES}
        captured = sum(outcomes.values()) + sum(dropped.values()) + sum(pending.values())
        return {"captured": captured, **outcomes, "dropped": dropped, "pending": pending}


def _sum(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: _sum([part[name] for part in parts]) for name in parts[0]}
    return sum(parts)
