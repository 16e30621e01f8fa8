"""What intake remembers: batches answered, items seen, and what could not be read. Tables and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg.pgproto.pgproto import UUID
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)
DROPPED_AT_ONCE: Final = 50_000

ingest_batches = Table(
    "ingest_batches",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("duplicates", ARRAY(Integer), nullable=False),
    Column("keep_until", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "agent_id", "key"),
    Index("ingest_batches_hash_idx", "tenant_no", "agent_id", "hash"),
    Index("ingest_batches_keep_until_idx", "keep_until"),
)

telemetry_receipts = Table(
    "telemetry_receipts",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("idempotency_key", Text),
    Column("items", Integer, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "batch_id", "content_sha256"),
    UniqueConstraint("tenant_no", "project_no", "idempotency_key"),
    Index("telemetry_receipts_received_at_idx", "received_at"),
)

telemetry_seen = Table(
    "telemetry_seen",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("seen_id", Uuid, nullable=False),
    Column("seen_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "seen_id"),
    Index("telemetry_seen_seen_at_idx", "seen_at"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("kind", Text, nullable=False),
    Column("batch_id", Text),
    Column("index", Integer),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    CheckConstraint("kind IN ('event', 'metric', 'body')", name="kind"),
    Index("quarantine_project_no_quarantine_no_idx", "project_no", "quarantine_no"),
    Index("quarantine_received_at_idx", "received_at"),
)

quarantine_totals = Table(
    "quarantine_totals",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no"),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose telemetry a statement is about, by number."""

    tenant_no: int
    project_no: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """One app batch as received: its id, what it said, and how many items it had."""

    batch_id: str
    content_sha256: bytes
    idempotency_key: str | None
    items: int


@dataclass(frozen=True, slots=True)
class Unread:
    """One item or body that could not be kept as telemetry, and why."""

    kind: str
    batch_id: str | None
    index: int | None
    code: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class AnsweredBatch:
    """One batch as answered: its verdicts are rebuilt from the same body at the same time of receipt."""

    key: str
    hash: bytes
    received_at: datetime
    position: int
    duplicates: frozenset[int]


async def claim_key(tx: Tx, tenant_no: int, agent_id: str, key: str) -> bool:
    """Take the key for the rest of this transaction; False while another transaction has it."""
    return bool(
        await tx.fetch_value(
            "SELECT pg_try_advisory_xact_lock(hashtextextended($1, $2))", f"{agent_id} {key}", tenant_no
        )
    )


async def find_batch(tx: Tx, tenant_no: int, agent_id: str, key: str) -> AnsweredBatch | None:
    """Return the batch that was answered under a key."""
    row = await tx.fetch_row(
        "SELECT key, hash, received_at, position, duplicates FROM ingest_batches"
        " WHERE tenant_no = $1 AND agent_id = $2 AND key = $3",
        tenant_no,
        agent_id,
        key,
    )
    return None if row is None else AnsweredBatch(row[0], row[1], row[2], row[3], frozenset(row[4]))


async def find_body(tx: Tx, tenant_no: int, agent_id: str, body_hash: bytes) -> AnsweredBatch | None:
    """Return the first batch that was answered for the same body, for senders whose signature has no time."""
    row = await tx.fetch_row(
        "SELECT key, hash, received_at, position, duplicates FROM ingest_batches"
        " WHERE tenant_no = $1 AND agent_id = $2 AND hash = $3 ORDER BY received_at LIMIT 1",
        tenant_no,
        agent_id,
        body_hash,
    )
    return None if row is None else AnsweredBatch(row[0], row[1], row[2], row[3], frozenset(row[4]))


async def add_batch(
    tx: Tx, tenant_no: int, agent_id: str, batch: AnsweredBatch, keep_until: datetime
) -> None:
    """Remember a batch with the answer it gets, in the transaction that stores its events."""
    await tx.run(
        "INSERT INTO ingest_batches (tenant_no, agent_id, key, hash, received_at, position, duplicates, keep_until)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        tenant_no,
        agent_id,
        batch.key,
        batch.hash,
        batch.received_at,
        batch.position,
        sorted(batch.duplicates),
        keep_until,
    )


async def prune_batches(tx: Tx, now: datetime, limit: int) -> int:
    """Delete batches whose time is over, at most ``limit``; returns how many."""
    return await tx.delete_before("ingest_batches", "keep_until", now, limit)


async def claim_receipt(tx: Tx, owner: Owner, receipt: Receipt, now: datetime) -> bool:
    """Write a batch's receipt; False when there is one, or one under its idempotency key.

    Waits for another transaction that is writing the same.
    """
    made = await tx.fetch_value(
        "INSERT INTO telemetry_receipts (tenant_no, project_no, batch_id, content_sha256, idempotency_key, items,"
        " received_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING true",
        owner.tenant_no,
        owner.project_no,
        receipt.batch_id,
        receipt.content_sha256,
        receipt.idempotency_key,
        receipt.items,
        now,
    )
    return made is True


async def has_receipt(tx: Tx, owner: Owner, receipt: Receipt) -> bool:
    """Tell whether this very batch was received before."""
    found: bool = await tx.fetch_value(
        "SELECT EXISTS (SELECT FROM telemetry_receipts WHERE tenant_no = $1 AND project_no = $2 AND batch_id = $3"
        " AND content_sha256 = $4)",
        owner.tenant_no,
        owner.project_no,
        receipt.batch_id,
        receipt.content_sha256,
    )
    return found


async def mark_seen(tx: Tx, tenant_no: int, ids: Sequence[bytes], now: datetime) -> set[bytes]:
    """Remember items by id, and return those that were not known; waits for others marking the same."""
    rows = await tx.fetch(
        "INSERT INTO telemetry_seen (tenant_no, seen_id, seen_at) SELECT $1, id, $3 FROM unnest($2::uuid[]) AS u(id)"
        " ORDER BY id ON CONFLICT DO NOTHING RETURNING seen_id",
        tenant_no,
        [UUID(seen) for seen in ids],
        now,
    )
    return {row[0].bytes for row in rows}


async def find_seen(tx: Tx, tenant_no: int, ids: Sequence[bytes]) -> set[bytes]:
    """Return which of these items were seen before."""
    rows = await tx.fetch(
        "SELECT seen_id FROM telemetry_seen WHERE tenant_no = $1 AND seen_id = ANY($2::uuid[])",
        tenant_no,
        [UUID(seen) for seen in ids],
    )
    return {row[0].bytes for row in rows}


async def add_unread(tx: Tx, owner: Owner, rows: Sequence[Unread], now: datetime) -> int:
    """Put items or bodies into quarantine and return how many bytes the project then has there."""
    await tx.run(
        "INSERT INTO quarantine (tenant_no, project_no, received_at, kind, batch_id, index, code, detail, bytes, raw)"
        " SELECT $1, $2, $3, kind, batch_id, index, code, detail, length(raw), raw FROM"
        " unnest($4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::bytea[])"
        " AS u(kind, batch_id, index, code, detail, raw)",
        owner.tenant_no,
        owner.project_no,
        now,
        *map(list, zip(*((r.kind, r.batch_id, r.index, r.code, r.detail, r.raw) for r in rows), strict=True)),
    )
    held: int = await tx.fetch_value(
        "INSERT INTO quarantine_totals AS t (tenant_no, project_no, bytes, dropped) VALUES ($1, $2, $3, 0)"
        " ON CONFLICT (tenant_no, project_no) DO UPDATE SET bytes = t.bytes + excluded.bytes RETURNING bytes",
        owner.tenant_no,
        owner.project_no,
        sum(len(row.raw) for row in rows),
    )
    return held


async def drop_oldest_unread(tx: Tx, owner: Owner, excess_bytes: int) -> None:
    """Take the oldest rows out of a project's quarantine until so many bytes are gone, and count them."""
    await tx.run(
        "WITH oldest AS (SELECT quarantine_no, sum(bytes) OVER (ORDER BY quarantine_no) - bytes AS before"
        "  FROM (SELECT quarantine_no, bytes FROM quarantine WHERE tenant_no = $1 AND project_no = $2"
        "        ORDER BY quarantine_no LIMIT $4) AS o),"
        " gone AS (DELETE FROM quarantine q USING oldest o"
        "  WHERE q.quarantine_no = o.quarantine_no AND o.before < $3 RETURNING q.bytes),"
        " counted AS (SELECT count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM gone)"
        " UPDATE quarantine_totals t SET bytes = t.bytes - c.bytes, dropped = t.dropped + c.rows FROM counted c"
        " WHERE t.tenant_no = $1 AND t.project_no = $2",
        owner.tenant_no,
        owner.project_no,
        excess_bytes,
        DROPPED_AT_ONCE,
    )


async def prune_receipts(tx: Tx, before: datetime, limit: int) -> int:
    """Delete receipts from before an instant, at most ``limit``; returns how many."""
    return await tx.delete_before("telemetry_receipts", "received_at", before, limit)


async def prune_seen(tx: Tx, before: datetime, limit: int) -> int:
    """Delete marks of items seen before an instant, at most ``limit``; returns how many."""
    return await tx.delete_before("telemetry_seen", "seen_at", before, limit)


async def prune_unread(tx: Tx, before: datetime, limit: int) -> int:
    """Delete what is in quarantine since before an instant, at most ``limit``; returns how many."""
    gone: int = await tx.fetch_value(
        "WITH gone AS (DELETE FROM quarantine WHERE ctid = ANY (ARRAY("
        "  SELECT ctid FROM quarantine WHERE received_at < $1 LIMIT $2)) RETURNING tenant_no, project_no, bytes),"
        " counted AS (SELECT tenant_no, project_no, sum(bytes) AS bytes FROM gone GROUP BY 1, 2),"
        " told AS (UPDATE quarantine_totals t SET bytes = t.bytes - c.bytes FROM counted c"
        "  WHERE t.tenant_no = c.tenant_no AND t.project_no = c.project_no)"
        " SELECT count(*) FROM gone",
        before,
        limit,
    )
    return gone
