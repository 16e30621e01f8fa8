"""Lanes of the scan, saved states of engines and the log of decisions: tables and statements."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
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
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.anomalies.stream import Learning
from guardhouse.foundation.database import TenantKey, Tx, metadata

LANES: Final = 64
_INSTANT = DateTime(timezone=True)

stream_lanes = Table(
    "stream_lanes",
    metadata,
    Column("lane", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Uuid),
    Column("lease_until", _INSTANT),
)
stream_states = Table(
    "stream_states",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("stream_no", BigInteger, nullable=False),
    Column("state_seq", BigInteger, nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("engine_version", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("saved_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "stream_no", "state_seq"),
)
stream_decisions = Table(
    "stream_decisions",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("stream_no", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("candidates", Integer, nullable=False),
    Column("blocks", JSONB, nullable=False),
    Column("decided_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "stream_no", "first_seq"),
    Index("stream_decisions_decided_at_idx", "decided_at"),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream that has events to judge."""

    tenant: TenantKey
    stream_no: int
    stream_id: UUID
    processed_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class SavedState:
    """Where a state of an engine is kept: as of which event, under which configuration, with which hash."""

    state_seq: int
    config_version: int
    engine_version: str
    object_key: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about one segment."""

    first_seq: int
    last_seq: int
    config_version: int
    rejected: int
    candidates: int
    blocks: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream is judged after a step; ``seen`` is how far it was before."""

    seen: int
    processed_seq: int
    learning: Learning
    outliers: int
    waiting_since: datetime | None


async def take_lanes(tx: Tx, owner: UUID, limit: int, now: datetime, until: datetime) -> list[int]:
    """Renew this worker's lanes and take free or lapsed ones up to ``limit``; returns what it holds."""
    rows = await tx.fetch(
        "WITH mine AS (SELECT lane FROM stream_lanes WHERE owner = $1 ORDER BY lane LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " free AS (SELECT lane FROM stream_lanes WHERE owner IS DISTINCT FROM $1"
        " AND (lease_until IS NULL OR lease_until < $3) ORDER BY lane"
        " LIMIT greatest(0, $2 - (SELECT count(*) FROM stream_lanes WHERE owner = $1)) FOR UPDATE SKIP LOCKED)"
        " UPDATE stream_lanes l SET owner = $1, lease_until = $4"
        " WHERE l.lane IN (SELECT lane FROM mine UNION SELECT lane FROM free) RETURNING l.lane",
        owner,
        limit,
        now,
        until,
    )
    return sorted(row["lane"] for row in rows)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane of this worker back."""
    await tx.run("UPDATE stream_lanes SET owner = NULL, lease_until = NULL WHERE owner = $1", owner)


async def list_waiting(
    tx: Tx, lanes: Sequence[int], limit: int, after: int, without: Sequence[int]
) -> list[Waiting]:
    """Return streams of these lanes with events to judge by number, beginning behind ``after``, and round."""
    rows = await tx.fetch(
        "SELECT t.tenant_id, s.tenant_no, s.stream_no, s.stream_id, s.processed_seq, s.last_seq FROM streams s"
        " JOIN tenants t USING (tenant_no) WHERE s.processed_seq < s.last_seq AND s.deleted_at IS NULL"
        f" AND s.stream_no % {LANES} = ANY ($1::int[]) AND s.stream_no <> ALL ($3::bigint[])"
        " ORDER BY s.stream_no <= $4, s.stream_no LIMIT $2",
        list(lanes),
        limit,
        list(without),
        after,
    )
    return [Waiting(TenantKey(row[0], row[1]), *tuple(row)[2:]) for row in rows]


async def advance(tx: Tx, waiting: Waiting, to: Progress) -> bool:
    """Move a stream on from where it was seen; False when another worker has moved it since."""
    done = await tx.run(
        "UPDATE streams SET processed_seq = $4, learning = $5, outliers = $6,"
        " waiting_since = CASE WHEN last_seq = $4 THEN NULL ELSE coalesce($7, waiting_since) END"
        " WHERE tenant_no = $1 AND stream_no = $2 AND processed_seq = $3 AND deleted_at IS NULL",
        waiting.tenant.no,
        waiting.stream_no,
        to.seen,
        to.processed_seq,
        to.learning,
        to.outliers,
        to.waiting_since,
    )
    return done.endswith(" 1")


async def add_decisions(
    tx: Tx, tenant_no: int, stream_no: int, decided: Sequence[Decided], now: datetime
) -> None:
    """Write down what was decided about segments."""
    await tx.run_many(
        "INSERT INTO stream_decisions (tenant_no, stream_no, first_seq, last_seq, config_version, rejected,"
        " candidates, blocks, decided_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9)",
        [
            (
                tenant_no,
                stream_no,
                one.first_seq,
                one.last_seq,
                one.config_version,
                one.rejected,
                one.candidates,
                json.dumps(one.blocks),
                now,
            )
            for one in decided
        ],
    )


async def list_versions(
    tx: Tx, tenant_no: int, stream_no: int, after_seq: int, until_seq: int
) -> dict[int, int]:
    """Return by which version of the configuration segments were judged, by their first number."""
    rows = await tx.fetch(
        "SELECT first_seq, config_version FROM stream_decisions"
        " WHERE tenant_no = $1 AND stream_no = $2 AND last_seq > $3 AND first_seq <= $4",
        tenant_no,
        stream_no,
        after_seq,
        until_seq,
    )
    return {row["first_seq"]: row["config_version"] for row in rows}


async def list_states(tx: Tx, tenant_no: int, stream_no: int, until_seq: int) -> list[SavedState]:
    """Return the saved states of a stream as of an event or before, the newest first."""
    rows = await tx.fetch(
        "SELECT state_seq, config_version, engine_version, object_key, sha256 FROM stream_states"
        " WHERE tenant_no = $1 AND stream_no = $2 AND state_seq <= $3 ORDER BY state_seq DESC",
        tenant_no,
        stream_no,
        until_seq,
    )
    return [SavedState(*tuple(row)) for row in rows]


async def add_state(tx: Tx, tenant_no: int, stream_no: int, saved: SavedState, now: datetime) -> list[str]:
    """Note a saved state and forget all but the one before; returns the keys of the objects that may go."""
    await tx.run(
        "INSERT INTO stream_states (tenant_no, stream_no, state_seq, config_version, engine_version, object_key,"
        " sha256, saved_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        tenant_no,
        stream_no,
        saved.state_seq,
        saved.config_version,
        saved.engine_version,
        saved.object_key,
        saved.sha256,
        now,
    )
    rows = await tx.fetch(
        "DELETE FROM stream_states WHERE tenant_no = $1 AND stream_no = $2 AND state_seq < (SELECT min(state_seq)"
        " FROM (SELECT state_seq FROM stream_states WHERE tenant_no = $1 AND stream_no = $2"
        " ORDER BY state_seq DESC LIMIT 2) AS newest) RETURNING object_key",
        tenant_no,
        stream_no,
    )
    return [row["object_key"] for row in rows]


async def forget_decisions(tx: Tx, before: datetime) -> None:
    """Forget decisions of all tenants from before an instant."""
    await tx.run("DELETE FROM stream_decisions WHERE decided_at < $1", before)
