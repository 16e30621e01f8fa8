"""One bounded queue of an `EventBuffer`: what is done when it is full, and how much went in, out and away."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from guard_agent.exceptions import BufferFullError
from guard_agent.models import SecurityEvent, SecurityMetric

Item = TypeVar("Item", SecurityEvent, SecurityMetric)


@dataclass(slots=True)
class Waiting(Generic[Item]):
    """An item in a queue, and the key of its copy in Redis (`""`: it has none)."""

    item: Item
    key: str = ""


class BoundedQueue(Generic[Item]):
    """Holds `capacity` items in order. Full: `drop` lets the oldest go, `block` waits for room, `raise` raises."""

    def __init__(self, name: str, capacity: int, policy: Literal["drop", "block", "raise"]) -> None:
        self.capacity = capacity
        self.added = self.taken = self.dropped = 0
        self._name = name
        self._policy = policy
        self._items: deque[Waiting[Item]] = deque()
        self._room = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        """Whether an item more would need the policy."""
        return len(self._items) >= self.capacity

    async def add(self, entry: Waiting[Item]) -> Waiting[Item] | None:
        """Append an item; return the one that had to go for it.

        Raises:
            BufferFullError: full, and the policy is `raise`.
        """
        gone = None
        if self.is_full:
            if self._policy == "raise":
                raise BufferFullError(
                    f"{self._name} buffer full at maxlen={self.capacity} and buffer_overflow_policy='raise'"
                )
            if self._policy == "block":
                async with self._room:
                    await self._room.wait_for(lambda: not self.is_full)
            else:
                gone = self._items.popleft()
                self.dropped += 1
        self._items.append(entry)
        self.added += 1
        return gone

    async def take_all(self) -> tuple[list[Item], list[str]]:
        """Take out every item with its key, and wake who waits for room."""
        taken = list(self._items)
        self._items.clear()
        self.taken += len(taken)
        async with self._room:
            self._room.notify_all()
        return [entry.item for entry in taken], [entry.key for entry in taken]

    def put_back(self, entries: list[Waiting[Item]]) -> list[Waiting[Item]]:
        """Put items in front again; return those, newest first dropped, that found no room beside newer items."""
        room = self.capacity - len(self._items)
        kept, left = entries[: max(0, room)], entries[max(0, room) :]
        self._items.extendleft(reversed(kept))
        self.dropped += len(left)
        return left
