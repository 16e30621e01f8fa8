"""What a process remembers of identity for a short while: dropped at once when another process says it changed.

A change holds everywhere within a second: a NOTIFY drops every memory, and while the listening connection is lost
nothing is believed for longer than that second.
"""

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

DEAF_SECONDS: Final = 1.0
ENTRIES: Final = 10_000
K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key for at most ``seconds``; ``connected`` tells whether word of changes reaches this process."""

    __slots__ = ("_connected", "_entries", "_monotonic", "_seconds", "generation")

    def __init__(
        self,
        connected: Callable[[], bool],
        *,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connected = connected
        self._monotonic = monotonic
        self._seconds = seconds
        self._entries: dict[K, tuple[float, float, V]] = {}
        self.generation = 0

    def get(self, key: K) -> tuple[bool, V | None]:
        """Return whether there is something to believe under this key, and what."""
        entry = self._entries.get(key)
        if entry is None:
            return False, None
        at, seconds, value = entry
        age = self._monotonic() - at
        if age > seconds or (age > DEAF_SECONDS and not self._connected()):
            return False, None
        return True, value

    def put(self, key: K, value: V, generation: int, *, seconds: float | None = None) -> None:
        """Remember what a look-up that began in ``generation`` found; the oldest entry gives way when full.

        ``seconds`` is for a value that is believed for another time than others.

        What was looked up before the last :meth:`drop` may show the state before the change, and is not kept.
        """
        if generation != self.generation:
            return
        self._entries.pop(key, None)
        if len(self._entries) >= ENTRIES:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = (self._monotonic(), self._seconds if seconds is None else seconds, value)

    def drop(self, _payload: str = "") -> None:
        """Forget everything: something has changed somewhere."""
        self.generation += 1
        self._entries.clear()
