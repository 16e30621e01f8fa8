"""Tables of records and the statements on them.

Records are written by COPY into the partition of their day, which row-level security does not check: the tenant of a
row comes from the identified caller alone. The day is that of the id, so that an id says where its record is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import Tx, metadata

PARENTS: Final = ("detections", "detection_texts")
USUAL_DAYS: Final = 30
_INSTANT = DateTime(timezone=True)

detections = Table(
    "detections",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("policy_id", Uuid, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("would_decide", Text, nullable=False),
    Column("malicious", Boolean, nullable=False),
    Column("score_milli", SmallInteger),
    Column("review_milli", SmallInteger, nullable=False),
    Column("block_milli", SmallInteger, nullable=False),
    Column("operating_point", Text, nullable=False),
    Column("threat_types", ARRAY(Text), nullable=False),
    Column("flags", ARRAY(Text), nullable=False),
    Column("engine", Text, nullable=False),
    Column("engine_version", Text),
    Column("tier", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("verdict_source", Text, nullable=False),
    Column("degraded", Boolean, nullable=False),
    Column("fallback_reason", Text),
    Column("cached", Boolean, nullable=False),
    Column("took_us", Integer, nullable=False),
    Column("text_hmac", LargeBinary, nullable=False),
    Column("text_length", Integer, nullable=False),
    Column("agent_id", Text),
    Column("session_id", Text),
    Column("run_id", Text),
    Column("trace_id", Text),
    Column("retention_days", SmallInteger, nullable=False),
    Column("rest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id", "at"),
    Index(
        "detections_flagged_idx",
        "tenant_id",
        "id",
        postgresql_where=text("would_decide <> 'allow'"),
    ),
    Index(
        "detections_short_lived_idx",
        "at",
        postgresql_where=text(f"retention_days < {USUAL_DAYS}"),
    ),
    postgresql_partition_by="RANGE (at)",
)

detection_texts = Table(
    "detection_texts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("retention_days", SmallInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id", "at"),
    postgresql_partition_by="RANGE (at)",
)


class Record(NamedTuple):
    """One judged text, in the order of the columns; ``rest`` is JSON of what no list asks for, without excerpts.

    Scores are thousandths; ``retention_days`` counts from ``at``.
    """

    tenant_id: UUID
    id: UUID
    at: datetime
    kind: str
    credential: str
    policy_id: UUID
    policy_version: int
    channel: str
    decision: str
    would_decide: str
    malicious: bool
    score_milli: int | None
    review_milli: int
    block_milli: int
    operating_point: str
    threat_types: list[str]
    flags: list[str]
    engine: str
    engine_version: str | None
    tier: str
    endpoint: str
    verdict_source: str
    degraded: bool
    fallback_reason: str | None
    cached: bool
    took_us: int
    text_hmac: bytes
    text_length: int
    agent_id: str | None
    session_id: str | None
    run_id: str | None
    trace_id: str | None
    retention_days: int
    rest: bytes


class StoredText(NamedTuple):
    """A text that a policy keeps, zstd over UTF-8, in the order of the columns."""

    tenant_id: UUID
    id: UUID
    at: datetime
    retention_days: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records to list: equal members, a least score (milli), a span of time, after an id."""

    equal: dict[str, Any]
    min_score: int | None = None
    threat_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: UUID | None = None


COLUMNS: Final = Record._fields
_LIVE: Final = "at > $2::timestamptz - make_interval(days => retention_days)"


async def write_records(tx: Tx, day: date, rows: Sequence[Record]) -> None:
    """COPY records of one day into its partition."""
    await tx.copy(f"detections_p{day:%Y%m%d}", COLUMNS, rows)


async def write_texts(tx: Tx, day: date, rows: Sequence[StoredText]) -> None:
    """COPY texts of one day into its partition."""
    await tx.copy(f"detection_texts_p{day:%Y%m%d}", StoredText._fields, rows)


async def find_record(tx: Tx, tenant_id: UUID, now: datetime, record_id: UUID, at: datetime) -> Record | None:
    """Return a record by its id and the millisecond in it; one past its retention is none."""
    row = await tx.fetch_row(
        f"SELECT {', '.join(COLUMNS)} FROM detections WHERE tenant_id = $1 AND {_LIVE} AND id = $3"
        " AND at >= $4 AND at < $4::timestamptz + interval '1 millisecond'",
        tenant_id,
        now,
        record_id,
        at,
    )
    return None if row is None else Record(*row)


async def find_records(
    tx: Tx, tenant_id: UUID, now: datetime, ids: Sequence[UUID], times: tuple[datetime, datetime]
) -> list[Record]:
    """Return records by their ids, made between two instants."""
    rows = await tx.fetch(
        f"SELECT {', '.join(COLUMNS)} FROM detections WHERE tenant_id = $1 AND {_LIVE} AND id = ANY ($3::uuid[])"
        " AND at >= $4 AND at <= $5",
        tenant_id,
        now,
        list(ids),
        *times,
    )
    return [Record(*row) for row in rows]


async def find_text(tx: Tx, tenant_id: UUID, now: datetime, record_id: UUID, at: datetime) -> bytes | None:
    """Return the stored text of a record, packed; None when its policy keeps none."""
    found: bytes | None = await tx.fetch_value(
        f"SELECT packed FROM detection_texts WHERE tenant_id = $1 AND {_LIVE} AND id = $3"
        " AND at >= $4 AND at < $4::timestamptz + interval '1 millisecond'",
        tenant_id,
        now,
        record_id,
        at,
    )
    return found


async def list_records(tx: Tx, tenant_id: UUID, now: datetime, asked: Asked, limit: int) -> list[Record]:
    """Return records of a tenant, newest first."""
    conditions, values = [f"tenant_id = $1 AND {_LIVE}"], [tenant_id, now]

    def also(condition: str, value: object) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))

    for column, value in asked.equal.items():
        also(column + " = {}", value)
    for condition, value in (
        ("score_milli >= {}", asked.min_score),
        ("threat_types @> ARRAY[{}::text]", asked.threat_type),
        ("at >= {}", asked.since),
        ("at < {}", asked.until),
        ("id < {}", asked.after),
    ):
        if value is not None:
            also(condition, value)
    values.append(limit)
    rows = await tx.fetch(
        f"SELECT {', '.join(COLUMNS)} FROM detections WHERE {' AND '.join(conditions)}"
        f" ORDER BY id DESC LIMIT ${len(values)}",
        *values,
    )
    return [Record(*row) for row in rows]


# Days


async def list_days(tx: Tx, parent: str) -> list[date]:
    """Return the days that a table has partitions for, oldest first."""
    rows = await tx.fetch(
        "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS day FROM pg_inherits"
        " WHERE inhparent = $1::text::regclass ORDER BY day",
        parent,
    )
    return [row["day"] for row in rows]


async def create_day(tx: Tx, parent: str, day: date) -> bool:
    """Make the partition of one day; False when it was there."""
    made: bool = await tx.fetch_value("SELECT guardhouse_create_day($1, $2)", parent, day)
    return made


async def drop_day(tx: Tx, parent: str, day: date) -> None:
    """Drop one day for good."""
    await tx.run("SELECT guardhouse_drop_day($1, $2)", parent, day)


async def is_over(tx: Tx, parent: str, day: date, today: date) -> bool:
    """Tell whether nothing of a day is still to be kept."""
    return not await tx.fetch_value(
        f"SELECT EXISTS (SELECT FROM {parent} WHERE at >= $1::date::timestamp AT TIME ZONE 'UTC'"
        " AND at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC' AND retention_days >= $2::date - $1::date)",
        day,
        today,
    )


async def delete_short_lived(tx: Tx, parent: str, now: datetime, limit: int) -> int:
    """Delete what is kept for less than the usual days and is over, at most ``limit``; returns how many."""
    tag = await tx.run(
        f"DELETE FROM {parent} t USING (SELECT tenant_id, id, at FROM {parent}"
        f" WHERE retention_days < {USUAL_DAYS} AND at <= $1::timestamptz - make_interval(days => retention_days)"
        " AND at < $1::timestamptz - interval '1 day' LIMIT $2) AS gone"
        " WHERE t.tenant_id = gone.tenant_id AND t.id = gone.id AND t.at = gone.at",
        now,
        limit,
    )
    return int(tag.rpartition(" ")[2])
