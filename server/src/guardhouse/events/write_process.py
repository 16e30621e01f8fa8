"""Writes events of one host: every row once, whatever batch, retry or process brings it.

Optimistic: a plain COPY first. A unique violation means that some were stored before; the caller then
repeats its transaction with ``careful``, which leaves those out. Both run under the agent's row lock, and
event ids name the agent, so nobody else can be writing the same ids meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec
from asyncpg import UndefinedTableError, UniqueViolationError
from asyncpg.pgproto.pgproto import UUID

from guardhouse.events import store
from guardhouse.foundation.database import TenantKey, Tx

KINDS: Final = {
    "call": 1,
    "exec": 2,
    "fork": 3,
    "exit": 4,
    "calls": 5,
    "finding": 6,
    "loss": 7,
    "inventory": 8,
}
_Row: TypeAlias = tuple[object, ...]
KIND_NAMES: Final = {code: name for name, code in KINDS.items()}


class AlreadyStored(Exception):  # noqa: N818 - tells the caller to go the careful way
    """Some of these events are stored; the transaction is lost and must be repeated with ``careful``."""


class DayMissing(Exception):  # noqa: N818 - tells the caller to make the partition
    """A day has no partition; the transaction is lost."""


class Fields(msgspec.Struct, omit_defaults=True, gc=False):
    """What an event says beyond its columns, stored as one MessagePack map without its empty members."""

    exe: str | None = None
    comm: str | None = None
    ppid: int | None = None
    errno: str | None = None
    args: dict[str, Any] | None = None
    names: list[str] | None = None
    child_pid: int | None = None
    child_start: int | None = None
    code: int | None = None
    container: str | None = None
    rule: str | None = None
    priority: str | None = None
    source: str | None = None
    tags: list[str] | None = None
    count: int | None = None
    where: str | None = None
    low: int | None = None
    high: int | None = None
    metadata: dict[str, Any] | None = None
    parent_start: int | None = None


class NewEvent(msgspec.Struct, gc=False):
    """An event that may be stored. ``occurred_at`` and ``claimed_at`` in UTC; ``fields`` packed or None."""

    index: int
    event_id: bytes
    occurred_at: datetime
    claimed_at: datetime | None
    seq: int | None
    start: int | None
    ret: int | None
    pid: int | None
    tid: int | None
    kind: int
    flags: int
    call: str | None
    fields: bytes | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose events these are: tenant, agent and source numbers, and when they were received."""

    tenant: TenantKey
    agent_no: int
    source_no: int
    received_at: datetime


async def write_events(
    tx: Tx, owner: Owner, events: Sequence[NewEvent], first_position: int, *, careful: bool
) -> set[int]:
    """Store events in the order given, at gapless positions; returns the indexes of those stored before.

    Raises:
        AlreadyStored: not careful, and at least one is stored.
        DayMissing: a partition is missing.
    """
    duplicates: set[int] = set()
    if careful:
        events, duplicates = await _leave_out_stored(tx, owner, events)
    rows = [_row(owner, event, position) for position, event in enumerate(events, first_position)]
    try:
        for day, of_day in _by_day(events, rows):
            await store.copy_events(tx, day, of_day)
    except UniqueViolationError as error:
        raise AlreadyStored from error
    except UndefinedTableError as error:
        raise DayMissing from error
    return duplicates


def mark_late(events: Sequence[NewEvent], high_seq: int) -> None:
    """Flag events whose number is not above what was received before: stored all the same, applied late."""
    for event in events:
        if event.seq is not None and event.seq <= high_seq:
            event.flags |= store.LATE


async def get_source(tx: Tx, tenant: TenantKey, agent_no: int, source: tuple[str, str, str]) -> int:
    """Return the number of a source (stream, boot id, alphabet), made when it is new."""
    return await store.get_source(tx, tenant.no, agent_no, *source)


async def get_newest_boot(tx: Tx, tenant: TenantKey, agent_no: int) -> str | None:
    """Return the boot id that an agent reports from now; None when it has never said one."""
    return await store.get_newest_boot(tx, tenant.no, agent_no)


async def _leave_out_stored(
    tx: Tx, owner: Owner, events: Sequence[NewEvent]
) -> tuple[list[NewEvent], set[int]]:
    times = [event.occurred_at for event in events]
    stored = await store.find_stored(
        tx, owner.tenant.no, [event.event_id for event in events], min(times), max(times)
    )
    duplicates: set[int] = set()
    fresh = []
    for event in sorted(events, key=attrgetter("index")):
        if event.event_id in stored:
            duplicates.add(event.index)
        else:
            stored.add(event.event_id)  # the same event twice in one batch: the first copy stays
            fresh.append(event.index)
    keep = set(fresh)
    return [event for event in events if event.index in keep], duplicates


def _by_day(events: Sequence[NewEvent], rows: list[_Row]) -> list[tuple[date, list[_Row]]]:
    """Return the rows of each day, in their order; nearly always it is one day."""
    if not events:
        return []
    times = [event.occurred_at for event in events]
    first = min(times).date()
    if max(times).date() == first:
        return [(first, rows)]
    days: dict[date, list[_Row]] = {}
    for at, row in zip(times, rows, strict=True):
        days.setdefault(at.date(), []).append(row)
    return sorted(days.items())


def _row(owner: Owner, event: NewEvent, position: int) -> _Row:
    return (
        UUID(event.event_id),
        event.occurred_at,
        owner.received_at,
        event.claimed_at,
        owner.tenant.no,
        owner.agent_no,
        position,
        event.start,
        event.ret,
        owner.source_no,
        event.pid,
        event.tid,
        event.kind,
        event.flags,
        event.call,
        event.fields,
    )
