"""Keys seen lately, by SHA-256 of their text, so that a check costs no look-up; and their uses, to be written."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.identity.remembered import Remembered
from guardhouse.identity.store import ApiKey

KNOWN_SECONDS: Final = 30.0
UNKNOWN_SECONDS: Final = 10.0
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Known:
    """What is known of one text: its key, None for a text that is no key here.

    ``judged`` is the Caller that ``identity.caller`` made of the key, good until ``judged_until``.
    """

    key: ApiKey | None
    judged: Any = None
    judged_until: datetime = _NEVER


class KeyCache(Remembered[bytes, Known]):
    """Keys that were looked up; unknown texts are remembered for a shorter time."""

    __slots__ = ("_used",)

    def __init__(
        self, connected: Callable[[], bool], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(connected, seconds=KNOWN_SECONDS, monotonic=monotonic)
        self._used: dict[UUID, tuple[datetime, str | None]] = {}

    def find(self, text: str) -> Known | None:
        """Return what is known of this text, or None when it has to be looked up."""
        return self.get(_digest(text))[1]

    def keep(self, text: str, key: ApiKey | None, generation: int) -> Known:
        """Remember the outcome of a look-up that began in ``generation``, and return it as it is known now."""
        known = Known(key)
        self.put(_digest(text), known, generation, seconds=UNKNOWN_SECONDS if key is None else None)
        return known

    def mark_used(self, key_id: UUID, now: datetime, address: str | None = None) -> None:
        """Note a use, to be written with the next batch."""
        self._used[key_id] = (now, address)

    def take_used(self) -> list[tuple[UUID, datetime, str | None]]:
        """Return and forget the uses noted since the last call."""
        used, self._used = [(key_id, *use) for key_id, use in self._used.items()], {}
        return used


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
