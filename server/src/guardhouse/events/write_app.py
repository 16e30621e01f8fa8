"""Writes app events, metrics and roll-ups: every row once, whoever delivers it, at the same time or later.

Optimistic: COPY into the day's partition. A unique violation means that some were stored before; the caller
then repeats its transaction with ``careful``, which inserts with ``ON CONFLICT DO NOTHING`` and so also waits
for another writer of the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from asyncpg import CheckViolationError, UndefinedTableError, UniqueViolationError
from asyncpg.pgproto.pgproto import UUID

from guardhouse.events.app import store
from guardhouse.events.app.store import EVENTS, METRICS, AppTable
from guardhouse.events.write_process import AlreadyStored, DayMissing
from guardhouse.foundation.database import TenantKey, Tx

__all__ = ["EVENTS", "METRICS", "AppOwner", "NewRow", "Noise", "write_noise", "write_rows"]


@dataclass(frozen=True, slots=True)
class AppOwner:
    """Whose telemetry it is, when it came, and from which installation of the agent."""

    tenant: TenantKey
    project_no: int
    received_at: datetime
    installation: str | None


class NewRow(msgspec.Struct, gc=False):
    """A row that may be stored. ``fields`` has the columns that come from the item itself."""

    row_id: bytes
    occurred_at: datetime
    claimed_at: datetime | None
    flags: int
    fields: dict[str, Any]


class Noise(msgspec.Struct, gc=False):
    """An event that is kept as a count only. ``sample`` is JSON text; ``count``: as many in one."""

    occurred_at: datetime
    event_type: str
    fingerprint: bytes
    sample: str
    count: int = 1


async def write_rows(
    tx: Tx, table: AppTable, owner: AppOwner, rows: Iterable[NewRow], *, careful: bool
) -> list[NewRow]:
    """Store the rows that are not stored yet, and return those. Ids are unique among ``rows``.

    Raises:
        AlreadyStored: not careful, and at least one is stored; the transaction is lost.
        DayMissing: a partition is missing; the transaction is lost.
    """
    ordered = sorted(rows, key=_place)  # one order for all writers, so that two cannot deadlock
    if not ordered:
        return []
    names = table.item_columns
    try:
        if careful:
            made = await store.insert_app_rows(tx, table, [_row(owner, row, names) for row in ordered])
            return [row for row in ordered if row.row_id in made]
        for day, group in groupby(ordered, key=_day):
            await store.copy_app_rows(tx, table, day, [_row(owner, row, names) for row in group])
    except UniqueViolationError as error:
        raise AlreadyStored from error
    except (UndefinedTableError, CheckViolationError) as error:
        raise DayMissing from error
    return ordered


async def write_noise(tx: Tx, owner: AppOwner, noise: Iterable[Noise]) -> None:
    """Add events to the roll-ups of their minutes.

    Raises:
        DayMissing: a partition is missing; the transaction is lost.
    """
    totals: dict[tuple[datetime, str, bytes], list[Noise]] = {}
    for event in noise:
        minute = event.occurred_at.replace(second=0, microsecond=0)
        totals.setdefault((minute, event.event_type, event.fingerprint), []).append(event)
    if not totals:
        return
    rows = [
        (
            *key,
            sum(event.count for event in group),
            min(event.occurred_at for event in group),
            max(event.occurred_at for event in group),
            group[0].sample,
        )
        for key, group in sorted(totals.items())
    ]
    try:
        await store.add_rollups(tx, owner.tenant.no, owner.project_no, rows)
    except CheckViolationError as error:
        raise DayMissing from error


def _place(row: NewRow) -> tuple[datetime, bytes]:
    return row.occurred_at, row.row_id


def _day(row: NewRow) -> Any:
    return row.occurred_at.date()


def _row(owner: AppOwner, row: NewRow, names: Sequence[str]) -> tuple[object, ...]:
    fields = row.fields
    return (
        UUID(row.row_id),
        row.occurred_at,
        owner.received_at,
        row.claimed_at,
        owner.tenant.no,
        owner.project_no,
        row.flags,
        owner.installation,
        *[fields[name] for name in names],
    )
