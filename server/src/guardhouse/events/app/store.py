"""Events and metrics of in-app agents, and roll-ups of noise: tables and statements.

Rows enter by COPY into the partition of their day; the column lists here are the one source of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.types import TypeEngine

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

_TELEMETRY_HEAD: Final = {
    "occurred_at": "timestamptz",
    "received_at": "timestamptz",
    "claimed_at": "timestamptz",
    "tenant_no": "bigint",
    "project_no": "bigint",
    "flags": "smallint",
    "installation": "text",
}


@dataclass(frozen=True, slots=True)
class AppTable:
    """A table of app telemetry: its name and every column with its type, the row's id first."""

    name: str
    types: dict[str, str]

    @property
    def item_columns(self) -> list[str]:
        """The columns that come from the item itself."""
        return list(self.types)[1 + len(_TELEMETRY_HEAD) :]


EVENTS: Final = AppTable(
    "events",
    {
        "event_id": "uuid",
        **_TELEMETRY_HEAD,
        "event_type": "text",
        "class": "text",
        "response_time": "double precision",
        "status_code": "integer",
        "ip": "inet",
        **dict.fromkeys(("ip_text", "country", "user_agent", "action_taken", "reason", "endpoint"), "text"),
        **dict.fromkeys(("method", "decorator_type", "rule_type", "pattern_matched", "handler_name"), "text"),
        "metadata": "jsonb",
        "extra": "jsonb",
    },
)
METRICS: Final = AppTable(
    "metrics",
    {
        "metric_id": "uuid",
        **_TELEMETRY_HEAD,
        "metric_type": "text",
        "value": "double precision",
        "endpoint": "text",
        "tags": "jsonb",
        "count": "bigint",
        **dict.fromkeys(("sum", "min", "max"), "double precision"),
        "buckets": "jsonb",
    },
)
_KINDS: Final[dict[str, TypeEngine[Any]]] = {
    "uuid": Uuid(),
    "timestamptz": _INSTANT,
    "bigint": BigInteger(),
    "integer": Integer(),
    "smallint": SmallInteger(),
    "double precision": Double(),
    "text": Text(),
    "inet": INET(),
    "jsonb": JSONB(),
}
_REQUIRED: Final = {
    *_TELEMETRY_HEAD,
    "event_id",
    "metric_id",
    "event_type",
    "class",
    "metric_type",
    "value",
} - {
    "claimed_at",
    "installation",
}
for _table in (EVENTS, METRICS):
    _id = next(iter(_table.types))
    Table(
        _table.name,
        metadata,
        *(Column(name, _KINDS[kind], nullable=name not in _REQUIRED) for name, kind in _table.types.items()),
        PrimaryKeyConstraint("tenant_no", _id, "occurred_at"),
        Index(f"{_table.name}_project_no_{_id}_idx", "project_no", _id),
        *([Index("events_project_no_ip_idx", "project_no", "ip", "occurred_at")] if _table is EVENTS else []),
        postgresql_partition_by="RANGE (occurred_at)",
    )

event_rollups = Table(
    "event_rollups",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("minute", _INSTANT, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_at", _INSTANT, nullable=False),
    Column("last_at", _INSTANT, nullable=False),
    Column("sample", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "minute", "event_type", "fingerprint"),
    postgresql_partition_by="RANGE (minute)",
)


async def copy_app_rows(tx: Tx, table: AppTable, day: date, rows: Sequence[tuple[object, ...]]) -> None:
    """COPY rows (columns of ``table.types``) into the partition of a day.

    Raises:
        asyncpg.UniqueViolationError: one of them is stored already; roll back to a savepoint.
        asyncpg.UndefinedTableError: the day has no partition.
    """
    await tx.copy(f"{table.name}_p{day:%Y%m%d}", list(table.types), rows)


async def insert_app_rows(tx: Tx, table: AppTable, rows: Sequence[tuple[object, ...]]) -> set[bytes]:
    """Insert those rows that are not stored yet, waiting for other writers of the same; returns their ids.

    Raises:
        asyncpg.CheckViolationError: a day has no partition.
    """
    columns = list(table.types)
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(table.types.values(), start=1))
    names = ", ".join(columns)
    made = await tx.fetch(
        f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) AS u({names})"
        f" ORDER BY occurred_at, {columns[0]} ON CONFLICT DO NOTHING RETURNING {columns[0]}",
        *map(list, zip(*rows, strict=True)),
    )
    return {row[0].bytes for row in made}


async def add_rollups(
    tx: Tx,
    tenant_no: int,
    project_no: int,
    rows: Sequence[tuple[datetime, str, bytes, int, datetime, datetime, str]],
) -> None:
    """Add counts to the minutes' roll-ups: (minute, type, fingerprint, count, first, last, sample), sorted.

    Raises:
        asyncpg.CheckViolationError: a day has no partition.
    """
    await tx.run(
        "INSERT INTO event_rollups AS r (tenant_no, project_no, minute, event_type, fingerprint, count, first_at,"
        " last_at, sample) SELECT $1, $2, u.* FROM unnest($3::timestamptz[], $4::text[], $5::bytea[], $6::bigint[],"
        " $7::timestamptz[], $8::timestamptz[], $9::jsonb[]) AS u"
        " ON CONFLICT (tenant_no, project_no, minute, event_type, fingerprint) DO UPDATE SET"
        " count = r.count + excluded.count, first_at = least(r.first_at, excluded.first_at),"
        " last_at = greatest(r.last_at, excluded.last_at)",
        tenant_no,
        project_no,
        *map(list, zip(*rows, strict=True)),
    )


async def delete_old(tx: Tx, tenant_no: int, project_no: int, before: datetime, limit: int) -> int:
    """Delete a project's telemetry from before an instant, at most ``limit`` rows of each table; returns the most."""
    most = 0
    for table, column in (("events", "occurred_at"), ("metrics", "occurred_at"), ("event_rollups", "minute")):
        tag = await tx.run(
            f"DELETE FROM {table} d USING (SELECT tableoid AS part, ctid AS place FROM {table}"
            f" WHERE tenant_no = $1 AND project_no = $2 AND {column} < $3 LIMIT $4) AS old"
            f" WHERE d.tableoid = old.part AND d.ctid = old.place AND d.{column} < $3",
            tenant_no,
            project_no,
            before,
            limit,
        )
        most = max(most, int(tag.rpartition(" ")[2]))
    return most
