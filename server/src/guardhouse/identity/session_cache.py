"""Sessions seen lately, so that a page's requests cost no look-up each.

As with keys, a NOTIFY drops everything, and while the listening connection is lost entries live one second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.identity.sessions import Presented

CACHE_SECONDS: Final = 30.0
DEAF_SECONDS: Final = 1.0
CACHE_ENTRIES: Final = 10_000


@dataclass(slots=True)
class SessionCache:
    """What cookies stand for, by their digest. Cookies that open nothing are not remembered."""

    connected: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    generation: int = 0
    _entries: dict[bytes, tuple[float, Presented]] = field(default_factory=dict)
    _seen: dict[UUID, datetime] = field(default_factory=dict)

    def get(self, digest: bytes) -> Presented | None:
        """Return what the cookie stands for, when it is known well enough."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        age = self.monotonic() - entry[0]
        return entry[1] if age <= (CACHE_SECONDS if self.connected() else DEAF_SECONDS) else None

    def put(self, digest: bytes, found: Presented, generation: int) -> None:
        """Remember a look-up that began in ``generation``; the oldest entry gives way when full."""
        if generation != self.generation:
            return
        if len(self._entries) >= CACHE_ENTRIES:
            self._entries.pop(next(iter(self._entries)))
        self._entries[digest] = (self.monotonic(), found)

    def drop(self, _payload: str = "") -> None:
        """Forget everything: credentials have changed somewhere."""
        self.generation += 1
        self._entries.clear()

    def mark_seen(self, session_id: UUID, now: datetime) -> None:
        """Note a use, to be written with the next batch."""
        self._seen[session_id] = now

    def keep_seen(self, session_id: UUID, at: datetime) -> None:
        """Take back a use that could not be written, unless there was a later one."""
        self._seen[session_id] = max(at, self._seen.get(session_id, at))

    def seen_at(self, found: Presented) -> datetime:
        """Return when a session was last used, as far as this process knows."""
        return max(found.session.seen_at, self._seen.get(found.session.id, found.session.seen_at))

    def take_seen(self) -> list[tuple[UUID, datetime]]:
        """Return and forget the uses noted since the last call."""
        seen, self._seen = list(self._seen.items()), {}
        return seen
