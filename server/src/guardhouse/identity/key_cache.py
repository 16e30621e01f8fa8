"""Keys seen lately, by SHA-256 of their text, so that a check costs no look-up.

A revocation holds everywhere within a second: a NOTIFY drops every cache, and while the listening
connection is lost entries live one second only.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.identity.store import ApiKey

CACHE_SECONDS: Final = 30.0
UNKNOWN_SECONDS: Final = 10.0
DEAF_SECONDS: Final = 1.0
CACHE_ENTRIES: Final = 10_000
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Known:
    """What is known of one text: its key, None for a text that is no key here.

    ``judged`` is the Caller that ``identity.caller`` made of the key, good until ``judged_until``.
    """

    key: ApiKey | None
    at: float = 0.0
    judged: Any = None
    judged_until: datetime = _NEVER


@dataclass(slots=True)
class KeyCache:
    """Keys that were looked up; unknown texts are remembered for a shorter time."""

    connected: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    generation: int = 0
    _entries: dict[bytes, Known] = field(default_factory=dict)
    _used: dict[UUID, tuple[datetime, str | None]] = field(default_factory=dict)

    def find(self, text: str) -> Known | None:
        """Return what is known of this text, or None when it has to be looked up."""
        known = self._entries.get(hashlib.sha256(text.encode()).digest())
        if known is None:
            return None
        age = self.monotonic() - known.at
        if age > DEAF_SECONDS and (
            age > CACHE_SECONDS or (known.key is None and age > UNKNOWN_SECONDS) or not self.connected()
        ):
            return None
        return known

    def put(self, text: str, key: ApiKey | None, generation: int) -> Known:
        """Remember the outcome of a look-up that began in ``generation``; the oldest entry gives way when full.

        What was looked up before the last :meth:`drop` may show the state before the change, and is not kept.
        """
        known = Known(key, self.monotonic())
        if generation == self.generation:
            if len(self._entries) >= CACHE_ENTRIES:
                self._entries.pop(next(iter(self._entries)))
            self._entries[hashlib.sha256(text.encode()).digest()] = known
        return known

    def drop(self, _payload: str = "") -> None:
        """Forget everything: credentials have changed somewhere."""
        self.generation += 1
        self._entries.clear()

    def mark_used(self, key_id: UUID, now: datetime, address: str | None = None) -> None:
        """Note a use, to be written with the next batch."""
        self._used[key_id] = (now, address)

    def take_used(self) -> list[tuple[UUID, datetime, str | None]]:
        """Return and forget the uses noted since the last call."""
        used, self._used = [(key_id, *use) for key_id, use in self._used.items()], {}
        return used
