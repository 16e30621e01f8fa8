"""Stored telemetry of hosts: tables and statements. Rows enter by COPY into the partition of their day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

process_events = Table(
    "process_events",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("occurred_at", _INSTANT, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("claimed_at", _INSTANT),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("start", BigInteger),
    Column("ret", BigInteger),
    Column("source_no", Integer, nullable=False),
    Column("pid", Integer),
    Column("tid", Integer),
    Column("kind", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("call", Text),
    Column("fields", LargeBinary),
    PrimaryKeyConstraint("tenant_no", "event_id", "occurred_at"),
    Index("process_events_agent_no_position_idx", "agent_no", "position"),
    Index("process_events_agent_no_pid_position_idx", "agent_no", "pid", "position"),
    postgresql_partition_by="RANGE (occurred_at)",
)

event_sources = Table(
    "event_sources",
    metadata,
    Column("source_no", Integer, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("stream", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("alphabet", Text, nullable=False),
    UniqueConstraint("tenant_no", "agent_no", "stream", "boot_id", "alphabet"),
)

# Copies of events that an explanation cites: they outlive the days they came from.
events_kept = Table(
    "events_kept",
    metadata,
    *(Column(column.name, column.type, nullable=column.nullable) for column in process_events.columns),
    PrimaryKeyConstraint("tenant_no", "event_id"),
)

COPIED: Final = (
    "event_id",
    "occurred_at",
    "received_at",
    "claimed_at",
    "tenant_no",
    "agent_no",
    "position",
    "start",
    "ret",
    "source_no",
    "pid",
    "tid",
    "kind",
    "flags",
    "call",
    "fields",
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of a host as stored, with what its source says. ``fields`` is MessagePack or None."""

    event_id: bytes
    occurred_at: datetime
    received_at: datetime
    claimed_at: datetime | None
    agent_no: int
    agent_id: str
    position: int
    start: int | None
    ret: int | None
    pid: int | None
    tid: int | None
    kind: int
    flags: int
    call: str | None
    fields: bytes | None
    boot_id: str
    alphabet: str


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a list shows; None = all. ``late`` looks at the flag."""

    agent_id: str | None = None
    pid: int | None = None
    start: int | None = None
    calls: Sequence[str] | None = None
    kinds: Sequence[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    late: bool | None = None


LATE: Final = 1
CLAMPED: Final = 2
UNTIMED: Final = 4

_SELECT: Final = """
SELECT e.event_id, e.occurred_at, e.received_at, e.claimed_at, e.agent_no, a.agent_id, e.position, e.start, e.ret,
       e.pid, e.tid, e.kind, e.flags, e.call, e.fields, s.boot_id, s.alphabet
FROM process_events e JOIN event_sources s USING (source_no) JOIN host_agents a ON a.agent_no = e.agent_no
"""
_SELECT_KEPT: Final = _SELECT.replace("FROM process_events e", "FROM events_kept e")


def _event(row: Any) -> StoredEvent:
    return StoredEvent(
        row["event_id"].bytes,
        row["occurred_at"],
        row["received_at"],
        row["claimed_at"],
        row["agent_no"],
        row["agent_id"],
        row["position"],
        row["start"],
        row["ret"],
        row["pid"],
        row["tid"],
        row["kind"],
        row["flags"],
        row["call"],
        row["fields"],
        row["boot_id"],
        row["alphabet"],
    )


async def copy_events(tx: Tx, day: date, rows: Sequence[tuple[object, ...]]) -> None:
    """COPY rows (columns of :data:`COPIED`) into the partition of a day.

    Raises:
        asyncpg.UniqueViolationError: one of them is stored already; the transaction is then lost.
        asyncpg.UndefinedTableError: the day has no partition.
    """
    await tx.copy(f"process_events_p{day:%Y%m%d}", COPIED, rows)


async def find_stored(
    tx: Tx, tenant_no: int, ids: Sequence[bytes], since: datetime, until: datetime
) -> set[bytes]:
    """Return which of these ids are stored, looking only at days that the instants span."""
    rows = await tx.fetch(
        "SELECT event_id FROM process_events WHERE tenant_no = $1 AND event_id = ANY($2::uuid[])"
        " AND occurred_at BETWEEN $3 AND $4",
        tenant_no,
        [UUID(bytes=event_id) for event_id in ids],
        since,
        until,
    )
    return {row["event_id"].bytes for row in rows}


async def get_source(tx: Tx, tenant_no: int, agent_no: int, stream: str, boot_id: str, alphabet: str) -> int:
    """Return the number of a source, made when it is new."""
    number: int = await tx.fetch_value(
        "WITH made AS (INSERT INTO event_sources (tenant_no, agent_no, stream, boot_id, alphabet)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING source_no)"
        " SELECT source_no FROM made UNION ALL SELECT source_no FROM event_sources WHERE tenant_no = $1"
        " AND agent_no = $2 AND stream = $3 AND boot_id = $4 AND alphabet = $5 LIMIT 1",
        tenant_no,
        agent_no,
        stream,
        boot_id,
        alphabet,
    )
    return number


async def get_newest_boot(tx: Tx, tenant_no: int, agent_no: int) -> str | None:
    """Return the boot id of the source that an agent began last; None when none of them has one."""
    found: str | None = await tx.fetch_value(
        "SELECT boot_id FROM event_sources WHERE tenant_no = $1 AND agent_no = $2 AND boot_id <> ''"
        " ORDER BY source_no DESC LIMIT 1",
        tenant_no,
        agent_no,
    )
    return found


async def get_event(
    tx: Tx, tenant_no: int, event_id: bytes, since: datetime, until: datetime
) -> StoredEvent | None:
    """Return one event; the bounds are the time inside its id, so that one partition is read."""
    row = await tx.fetch_row(
        f"{_SELECT} WHERE e.tenant_no = $1 AND e.event_id = $2 AND e.occurred_at >= $3 AND e.occurred_at < $4",
        tenant_no,
        UUID(bytes=event_id),
        since,
        until,
    )
    return None if row is None else _event(row)


async def keep_events(tx: Tx, tenant_no: int, ids: Sequence[bytes], since: datetime, until: datetime) -> None:
    """Copy events to where they stay; the bounds are the times inside their ids, so that few partitions are read."""
    columns = ", ".join(COPIED)
    await tx.run(
        f"INSERT INTO events_kept ({columns}) SELECT {columns} FROM process_events"
        " WHERE tenant_no = $1 AND event_id = ANY($2::uuid[]) AND occurred_at >= $3 AND occurred_at < $4"
        " ORDER BY event_id ON CONFLICT DO NOTHING",
        tenant_no,
        [UUID(bytes=event_id) for event_id in ids],
        since,
        until,
    )


async def list_kept(tx: Tx, tenant_no: int, ids: Sequence[bytes]) -> list[StoredEvent]:
    """Return those of these events that are kept, in the order in which they were applied."""
    rows = await tx.fetch(
        f"{_SELECT_KEPT} WHERE e.tenant_no = $1 AND e.event_id = ANY($2::uuid[]) ORDER BY e.agent_no, e.position",
        tenant_no,
        [UUID(bytes=event_id) for event_id in ids],
    )
    return [_event(row) for row in rows]


async def list_newest(
    tx: Tx, tenant_no: int, wanted: EventFilter, limit: int, before: bytes | None = None
) -> list[StoredEvent]:
    """Return events, newest id first."""
    where, args = _where(tenant_no, wanted)
    if before is not None:
        args.append(UUID(bytes=before))
        where.append(f"e.event_id < ${len(args)}")
    args.append(limit)
    rows = await tx.fetch(
        f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY e.event_id DESC LIMIT ${len(args)}", *args
    )
    return [_event(row) for row in rows]


async def list_by_position(
    tx: Tx, tenant_no: int, wanted: EventFilter, limit: int, after: Sequence[int] | None = None
) -> list[StoredEvent]:
    """Return events of one agent in the order in which they are applied.

    ``after`` is agent number and position: positions start anew when an id is removed and enrolled again.
    """
    where, args = _where(tenant_no, wanted)
    if after is not None:
        args += after
        where.append(f"(e.agent_no, e.position) > (${len(args) - 1}, ${len(args)})")
    args.append(limit)
    rows = await tx.fetch(
        f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY e.agent_no, e.position LIMIT ${len(args)}", *args
    )
    return [_event(row) for row in rows]


async def read_after(
    tx: Tx, agent_no: int, position: int, limit: int
) -> tuple[list[Any], dict[int, tuple[str, str]]]:
    """Return the next events of one agent after a position, in position order, for the scoring lanes.

    A row is (id as bytes, occurred_at, position, start, ret, pid, tid, kind, flags, call, fields, source_no); beside
    them (boot id, alphabet) of each source. Every event goes this way once, so it joins and makes nothing else.
    """
    rows = await tx.fetch(
        "SELECT uuid_send(event_id), occurred_at, position, start, ret, pid, tid, kind, flags, call, fields, source_no"
        " FROM process_events WHERE agent_no = $1 AND position > $2 ORDER BY position LIMIT $3",
        agent_no,
        position,
        limit,
    )
    if not rows:
        return [], {}
    sources = await tx.fetch(
        "SELECT source_no, boot_id, alphabet FROM event_sources WHERE source_no = ANY($1::int[])",
        sorted({row[-1] for row in rows}),
    )
    return list(rows), {row[0]: (row[1], row[2]) for row in sources}


async def oldest_time(tx: Tx, agent_no: int) -> datetime | None:
    """Return the time of the event with an agent's lowest position."""
    found: datetime | None = await tx.fetch_value(
        "SELECT occurred_at FROM process_events WHERE agent_no = $1 ORDER BY position LIMIT 1", agent_no
    )
    return found


async def read_process(
    tx: Tx, agent_no: int, pid: int, positions: tuple[int, int], times: tuple[datetime, datetime], limit: int
) -> list[StoredEvent]:
    """Return events of a pid after one position, up to another, between two instants, in position order."""
    rows = await tx.fetch(
        f"{_SELECT} WHERE e.agent_no = $1 AND e.pid = $2 AND e.position > $3 AND e.position <= $4"
        " AND e.occurred_at >= $5 AND e.occurred_at <= $6 ORDER BY e.position LIMIT $7",
        agent_no,
        pid,
        *positions,
        *times,
        limit,
    )
    return [_event(row) for row in rows]


async def position_before(tx: Tx, agent_no: int, since: datetime, until: datetime) -> int | None:
    """Return the position just before the first event of an agent in a span of time; None when it has none there."""
    found: int | None = await tx.fetch_value(
        "SELECT min(position) - 1 FROM process_events WHERE agent_no = $1 AND occurred_at >= $2 AND occurred_at < $3",
        agent_no,
        since,
        until,
    )
    return found


async def create_day(tx: Tx, parent: str, day: date) -> bool:
    """Make the partition of a day; False when it is there already."""
    return bool(await tx.fetch_value("SELECT guardhouse_create_day($1, $2)", parent, day))


async def drop_day(tx: Tx, parent: str, day: date) -> bool:
    """Detach and drop the partition of a day; False when there is none."""
    return bool(await tx.fetch_value("SELECT guardhouse_drop_day($1, $2)", parent, day))


async def list_days(tx: Tx, parent: str) -> list[date]:
    """Return the days that have partitions, oldest first."""
    rows = await tx.fetch(
        "SELECT right(c.relname, 8) AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = to_regclass($1) ORDER BY 1",
        parent,
    )
    return [datetime.strptime(row["day"], "%Y%m%d").date() for row in rows]  # noqa: DTZ007 - a day has no zone


def _where(tenant_no: int, wanted: EventFilter) -> tuple[list[str], list[object]]:
    """Return conditions and their arguments; every value goes as an argument, never into the text."""
    tests: list[tuple[str, object]] = [
        ("e.tenant_no = ${}", tenant_no),
        ("a.agent_id = ${}", wanted.agent_id),
        ("e.pid = ${}", wanted.pid),
        ("e.start = ${}", wanted.start),
        ("e.call = ANY(${}::text[])", None if wanted.calls is None else list(wanted.calls)),
        ("e.kind = ANY(${}::smallint[])", None if wanted.kinds is None else list(wanted.kinds)),
        ("e.occurred_at >= ${}", wanted.since),
        ("e.occurred_at < ${}", wanted.until),
        (f"(e.flags & {LATE} <> 0) = ${{}}", wanted.late),
    ]
    used = [(test, value) for test, value in tests if value is not None]
    return [test.format(n) for n, (test, _) in enumerate(used, 1)], [value for _, value in used]
