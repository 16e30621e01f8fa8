"""Host batches already answered: what is needed to give the same answer again, byte for byte."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

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
    tag = await tx.run(
        "DELETE FROM ingest_batches WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM ingest_batches WHERE keep_until < $1 LIMIT $2))",
        now,
        limit,
    )
    return int(tag.rpartition(" ")[2])
