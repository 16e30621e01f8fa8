"""Records that wait to be written: gathered for a moment, so that many calls share one transaction.

Whoever needs to know that its record is stored waits for that commit; the others are answered at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from guardhouse.detections.records.write import Entry

MOST_WAITING: Final = 20_000
MOST_AT_ONCE: Final = 500


class Waiting:
    """Entries of this process, oldest first; nothing in here waits for the database."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self.hurry = asyncio.Event()
        self._entries: list[tuple[Entry, asyncio.Future[None] | None]] = []

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether there is room for no more."""
        return len(self._entries) >= MOST_WAITING

    def add(self, entry: Entry, stored: "asyncio.Future[None] | None" = None) -> None:
        """Keep an entry until it is written; ``stored`` is settled then, and makes the writer hurry."""
        self._entries.append((entry, stored))
        self.some.set()
        if stored is not None or len(self._entries) >= MOST_AT_ONCE:
            self.hurry.set()

    def take(self) -> "list[tuple[Entry, asyncio.Future[None] | None]]":
        """Take the oldest that fit one transaction."""
        taken, self._entries = self._entries[:MOST_AT_ONCE], self._entries[MOST_AT_ONCE:]
        if not self._entries:
            self.some.clear()
            self.hurry.clear()
        return taken

    def give_back(self, taken: "Sequence[tuple[Entry, asyncio.Future[None] | None]]") -> None:
        """Put what could not be written in front again."""
        self._entries[:0] = taken
        if self._entries:
            self.some.set()
