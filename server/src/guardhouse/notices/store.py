"""Tables of the outbox and every statement on them.

A position is ``(epoch, txid, id)``. A row is *settled* once no transaction older than its own is running:
only then can nothing commit behind it, and only settled rows are given to readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy import (
    Sequence as DatabaseSequence,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

from guardhouse.foundation.database import Tx, metadata
from guardhouse.notices.kind import Severity

DROPPED: Final = "dropped"  # the reader name under which the place of the last dropped notice is kept

_TURN: Final = 0x6E6F7469  # "noti": our half of the space of advisory locks


class Xid8(UserDefinedType[int]):
    """A full transaction id of PostgreSQL: 64 bits, never wraps."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """Return the type's name."""
        return "xid8"


ischema_names["xid8"] = Xid8  # so that comparing code and database knows it

notices = Table(
    "notices",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("txid", Xid8, nullable=False),
    Column("id", BigInteger, DatabaseSequence("notice_ids"), nullable=False),
    Column("notice_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", SmallInteger, nullable=False),
    Column("severity", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_seq", BigInteger, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("api_key_id", Uuid),
    Column("project_id", Uuid),
    Column("correlation_id", Text, nullable=False),
    Column("trace_id", Text),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("epoch", "txid", "id", "occurred_at"),
    CheckConstraint("severity IN ('info', 'low', 'medium', 'high', 'critical')", name="severity"),
    Index("notices_tenant_id_epoch_idx", "tenant_id", "epoch", "txid", "id"),
    Index("notices_tenant_id_subject_idx", "tenant_id", "subject", "subject_seq"),
    postgresql_partition_by="RANGE (occurred_at)",
)

notice_cursors = Table(
    "notice_cursors",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("txid", Xid8, nullable=False),
    Column("id", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the log. Notices after it are those whose position is greater."""

    epoch: int
    txid: int
    id: int

    def __str__(self) -> str:
        """Return the text that clients carry."""
        return f"{self.epoch}.{self.txid}.{self.id}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A position and when it was written: readers after it need no older partition."""

    position: Position
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """One notice to be written."""

    notice_id: UUID
    tenant_id: UUID
    kind: str
    version: int
    severity: str
    subject: str
    subject_seq: int
    data: str
    api_key_id: UUID | None
    project_id: UUID | None
    correlation_id: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice of the log; ``data`` is its JSON text as PostgreSQL gives it."""

    position: Position
    notice_id: UUID
    tenant_id: UUID
    kind: str
    version: int
    severity: Severity
    subject: str
    subject_seq: int
    data: str
    api_key_id: UUID | None
    project_id: UUID | None
    correlation_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Slice:
    """Settled notices in order; ``held``: more are there, waiting for an older transaction to end."""

    notices: Sequence[Notice]
    held: bool


_APPEND: Final = """
WITH made AS (
    INSERT INTO notices (epoch, notice_id, tenant_id, kind, version, severity, subject, subject_seq, data,
                         api_key_id, project_id, correlation_id, trace_id)
    SELECT (SELECT last_value::integer FROM notice_epochs), row.*
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::bigint[],
                $8::text[]::jsonb[], $9::uuid[], $10::uuid[], $11::text[], $12::text[]) AS row
)
SELECT pg_notify('notices', '')
"""

_SETTLED: Final = (
    "(epoch < (SELECT last_value FROM notice_epochs) OR txid < pg_snapshot_xmin(pg_current_snapshot()))"
)
_COLUMNS: Final = (
    "epoch, txid, id, notice_id, tenant_id, kind, version, severity, subject, subject_seq, data::text AS data,"
    f" api_key_id, project_id, correlation_id, occurred_at, {_SETTLED} AS settled"
)


async def append(tx: Tx, rows: Sequence[Row]) -> None:
    """Write notices in the order given and announce them once at commit, in one round trip."""
    columns = zip(
        *(
            (
                row.notice_id,
                row.tenant_id,
                row.kind,
                row.version,
                row.severity,
                row.subject,
                row.subject_seq,
                row.data,
                row.api_key_id,
                row.project_id,
                row.correlation_id,
                row.trace_id,
            )
            for row in rows
        ),
        strict=True,
    )
    await tx.run(_APPEND, *columns)


async def take_turn(tx: Tx, subject: str) -> bool:
    """Take the lock of a subject until the end of the transaction; False if it has a transaction id already."""
    fresh = await tx.fetch_value(
        "SELECT pg_current_xact_id_if_assigned() IS NULL FROM pg_advisory_xact_lock($1, hashtext($2))",
        _TURN,
        subject,
    )
    return fresh is True


async def read_after(
    tx: Tx, position: Position, *, since: datetime, limit: int, tenant_id: UUID | None = None
) -> Slice:
    """Return settled notices after a position, of one tenant or of all; none older than ``since`` is sought."""
    where = "(epoch, txid, id) > ($1, $2::xid8, $3) AND occurred_at >= $4"
    args: list[object] = [position.epoch, position.txid, position.id, since]
    if tenant_id is not None:
        where += " AND tenant_id = $5"
        args.append(tenant_id)
    found = await tx.fetch(
        f"SELECT {_COLUMNS} FROM notices WHERE {where} ORDER BY epoch, txid, id LIMIT {limit:d}",
        *args,
    )
    settled = [_notice(row) for row in found if row["settled"]]
    return Slice(settled, held=len(settled) < len(found))


async def read_before(
    tx: Tx, tenant_id: UUID, *, before: Position | None, kinds: Sequence[str], limit: int
) -> list[Notice]:
    """Return settled notices of a tenant and some kinds, newest first, those before a position only."""
    where = f"tenant_id = $1 AND kind = ANY ($2::text[]) AND {_SETTLED}"
    args: list[object] = [tenant_id, list(kinds)]
    if before is not None:
        where += " AND (epoch, txid, id) < ($3, $4::xid8, $5)"
        args += [before.epoch, before.txid, before.id]
    found = await tx.fetch(
        f"SELECT {_COLUMNS} FROM notices WHERE {where}"
        f" ORDER BY tenant_id DESC, epoch DESC, txid DESC, id DESC LIMIT {limit:d}",
        *args,
    )
    return [_notice(row) for row in found]


async def newest(tx: Tx) -> Mark:
    """Return the newest settled notice; an empty log gives the start of the present epoch, now."""
    row = await tx.fetch_row(
        f"SELECT epoch, txid, id, occurred_at FROM notices WHERE {_SETTLED}"
        " ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1"
    )
    if row is None:
        row = await tx.fetch_row(
            "SELECT last_value AS epoch, 0 AS txid, 0 AS id, now() AS occurred_at FROM notice_epochs"
        )
    return _mark(row)


async def mark_at(tx: Tx, position: Position) -> Mark | None:
    """Return the newest notice at or before a position, or None when none is kept."""
    row = await tx.fetch_row(
        "SELECT epoch, txid, id, occurred_at FROM notices WHERE (epoch, txid, id) <= ($1, $2::xid8, $3)"
        " ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1",
        position.epoch,
        position.txid,
        position.id,
    )
    return None if row is None else _mark(row)


async def exists_beyond(tx: Tx, position: Position) -> bool:
    """Tell whether a position lies past everything this database has ever given out."""
    return bool(
        await tx.fetch_value(
            "SELECT ($1::bigint, $2::xid8) >= (last_value, pg_snapshot_xmax(pg_current_snapshot()))"
            " FROM notice_epochs",
            position.epoch,
            position.txid,
        )
    )


async def lost_until(tx: Tx, days: int) -> Position | None:
    """Return the newest position that lies more than ``days`` whole days back or was dropped already."""
    row = await tx.fetch_row(
        "(SELECT epoch, txid, id FROM notices"
        " WHERE occurred_at < (date_trunc('day', now() AT TIME ZONE 'UTC') - make_interval(days => $1))"
        " AT TIME ZONE 'UTC' ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1)"
        " UNION ALL (SELECT epoch, txid, id FROM notice_cursors WHERE reader = $2)"
        " ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1",
        days,
        DROPPED,
    )
    return None if row is None else _position(row)


async def raise_epoch(tx: Tx) -> bool:
    """Begin a new epoch if the log holds transaction ids this cluster has not reached (a restored dump)."""
    raised = await tx.fetch_value(
        "SELECT nextval('notice_epochs') FROM (SELECT last_value::integer AS epoch FROM notice_epochs) AS e"
        " WHERE pg_snapshot_xmax(pg_current_snapshot()) <= greatest("
        "  (SELECT txid FROM notices WHERE epoch = e.epoch ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1),"
        "  (SELECT max(txid::text::numeric)::text::xid8 FROM notice_cursors WHERE epoch = e.epoch))"
    )
    return raised is not None


async def create_days(tx: Tx, *, ahead: int) -> int:
    """Make the partitions from yesterday to so many days ahead; returns how many were new."""
    made: int = await tx.fetch_value(
        "SELECT count(*) FILTER (WHERE guardhouse_create_day('notices', (now() AT TIME ZONE 'UTC')::date + step))"
        " FROM generate_series(-1, $1::int) AS step",
        ahead,
    )
    return made


async def expired_days(tx: Tx, *, keep: int) -> list[date]:
    """Return the days of partitions that end more than ``keep`` days ago, oldest first."""
    rows = await tx.fetch(
        "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS day FROM pg_inherits"
        " WHERE inhparent = 'notices'::regclass"
        " AND to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD')"
        " < (now() AT TIME ZONE 'UTC')::date - $1::int ORDER BY day",
        keep,
    )
    return [row["day"] for row in rows]


async def drop_day(tx: Tx, day: date) -> None:
    """Drop one day for good, and remember the last position that went with it."""
    await tx.run(
        "INSERT INTO notice_cursors (reader, epoch, txid, id)"
        " SELECT $2, epoch, txid, id FROM notices WHERE occurred_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'"
        " ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1"
        " ON CONFLICT (reader) DO UPDATE SET epoch = excluded.epoch, txid = excluded.txid, id = excluded.id",
        day,
        DROPPED,
    )
    await tx.run("SELECT guardhouse_drop_day('notices', $1::date)", day)


def _position(row: "asyncpg.Record") -> Position:
    return Position(row["epoch"], row["txid"], row["id"])


def _mark(row: "asyncpg.Record | None") -> Mark:
    if row is None:
        raise RuntimeError("the sequence notice_epochs is gone")
    return Mark(_position(row), row["occurred_at"])


def _notice(row: "asyncpg.Record") -> Notice:
    return Notice(
        position=_position(row),
        notice_id=row["notice_id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        version=row["version"],
        severity=Severity(row["severity"]),
        subject=row["subject"],
        subject_seq=row["subject_seq"],
        data=row["data"],
        api_key_id=row["api_key_id"],
        project_id=row["project_id"],
        correlation_id=row["correlation_id"],
        occurred_at=row["occurred_at"],
    )
