"""Sessions seen lately, so that a page's requests cost no look-up each; and their uses, to be written."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.identity.remembered import Remembered
from guardhouse.identity.sessions import Presented

KNOWN_SECONDS: Final = 30.0


class SessionCache(Remembered[bytes, Presented]):
    """What cookies stand for, by their digest. Cookies that open nothing are not remembered."""

    __slots__ = ("_seen",)

    def __init__(
        self, connected: Callable[[], bool], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(connected, seconds=KNOWN_SECONDS, monotonic=monotonic)
        self._seen: dict[UUID, datetime] = {}

    def find(self, digest: bytes) -> Presented | None:
        """Return what the cookie stands for, when it is known well enough."""
        return self.get(digest)[1]

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
