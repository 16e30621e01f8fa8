"""Set and know the platform's mode: one row, read by every process at most a second late.

A time to live ends a mode by comparison of times; no job has to run for it, and none can fail to.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation import logs
from guardhouse.foundation.clock import Clock, rfc3339
from guardhouse.foundation.database import DatabaseAway, Tx
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.kill_switch import store
from guardhouse.identity.kill_switch.store import ModeRow
from guardhouse.notices.platform_kinds import ModeChanged
from guardhouse.notices.publish import publish, take_turn

FRESH_SECONDS: Final = 1.0
SUBJECT: Final = "platform:mode"
_log = logs.get(__name__)


class Mode(StrEnum):
    """What the platform does for anybody."""

    NORMAL = "NORMAL"
    SAFE_MODE = "SAFE_MODE"
    HARD_STOP = "HARD_STOP"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mode to set, why, and for how long at most (None: until it is set again)."""

    mode: Mode
    reason: str
    ttl_seconds: int | None = None


def in_force(row: ModeRow | None, now: datetime) -> Mode:
    """Return the mode that a row means at an instant."""
    if row is None or (row.until is not None and now >= row.until):
        return Mode.NORMAL
    return Mode(row.mode)


async def set_mode(tx: Tx, clock: Clock, actor: Actor, wanted: Wanted) -> ModeRow:
    """Set the mode in a transaction of the system, audited and told; returns the row as it stands now."""
    await take_turn(tx, actor.tenant_id, SUBJECT)
    now = clock.now()
    before = await store.read(tx)
    until = None
    if wanted.ttl_seconds is not None and wanted.mode is not Mode.NORMAL:
        until = now + timedelta(seconds=wanted.ttl_seconds)
    after = ModeRow(wanted.mode, wanted.reason, until, now, actor.name)
    version = await store.write(tx, after)
    changed = ModeChanged(
        mode=wanted.mode.value,
        previous=in_force(before, now).value,
        reason=wanted.reason,
        until=rfc3339(until) if until else None,
        actor=actor.name,
    )
    await publish(tx, changed, tenant_id=actor.tenant_id, subject_seq=version)
    await record(tx, actor, _entry(before, after, now))
    return after


def _entry(before: ModeRow | None, after: ModeRow, now: datetime) -> Entry:
    return Entry(
        "platform.set_mode",
        SUBJECT,
        before={"mode": in_force(before, now).value},
        after={"mode": after.mode, "until": rfc3339(after.until) if after.until else None},
        reason=after.reason,
    )


async def read_mode(tx: Tx) -> ModeRow | None:
    """Return the row as stored."""
    return await store.read(tx)


@dataclass(slots=True)
class ModeCache:
    """The mode as this process knows it, never older than a second; a NOTIFY makes it read again at once.

    While the database is away the last known mode stays in force.
    """

    resources: Resources
    monotonic: Callable[[], float] = time.monotonic
    _row: ModeRow | None = None
    _read_at: float = float("-inf")
    _generation: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def drop(self, _payload: str = "") -> None:
        """Read again at the next question: the mode has changed somewhere."""
        self._generation += 1
        self._read_at = float("-inf")

    async def current(self) -> tuple[Mode, datetime | None]:
        """Return the mode in force and when it ends by itself."""
        if not self._fresh():
            async with self._lock:
                if not self._fresh():
                    await self._read()
        mode = in_force(self._row, self.resources.clock.now())
        return mode, None if self._row is None or mode is Mode.NORMAL else self._row.until

    def _fresh(self) -> bool:
        return self.monotonic() - self._read_at < FRESH_SECONDS

    async def _read(self) -> None:
        generation, began = self._generation, self.monotonic()
        try:
            async with system_transaction(self.resources) as tx:
                self._row = await store.read(tx)
        except DatabaseAway:
            _log.warning("platform_mode_unread", mode=self._row.mode if self._row else Mode.NORMAL.value)
        if generation == self._generation:
            self._read_at = began
