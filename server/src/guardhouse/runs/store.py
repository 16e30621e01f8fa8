"""The table of runs. What it says of money is tied to the ledger by keys that PostgreSQL checks at each commit."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("pack_type", Text, nullable=False),
    Column("pack_version", Text, nullable=False),
    Column("price_version", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("money_state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("inputs", JSONB),
    Column("inputs_sha256", LargeBinary, nullable=False),
    Column("quote_micros", BigInteger, nullable=False),
    Column("timebox_seconds", Integer, nullable=False),
    Column("queue_seconds", Integer, nullable=False),
    Column("min_reliability_milli", Integer),
    Column("label", Text),
    Column("meta", JSONB, nullable=False),
    Column("webhook_url", Text),
    Column("idempotency_key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("credential", Text, nullable=False),
    Column("receipt", LargeBinary),
    Column("plan", Text, nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("queued_at", _INSTANT, nullable=False),
    Column("started_at", _INSTANT),
    Column("completed_at", _INSTANT),
    Column("retention_until", _INSTANT, nullable=False),
    Column("cancel_requested_at", _INSTANT),
    Column("lease_token", Uuid),
    Column("lease_expires_at", _INSTANT),
    Column("finalize_stage", Text),
    Column("finalize_token", Uuid),
    Column("claimed_at", _INSTANT),
    Column("reconcile_token", Uuid),
    Column("result_objects", JSONB),
    Column("actual_micros", BigInteger),
    Column("reason_code", Text),
    Column("error", JSONB),
    Column(
        "is_open",
        Boolean,
        Computed("status IN ('QUEUED', 'PROCESSING')", persisted=True),
        nullable=False,
    ),
    Column("resolved_run_id", Uuid),
    Column("charged", BigInteger),
    Column("refunded_micros", BigInteger, nullable=False),
    UniqueConstraint("run_id", "is_open"),
    UniqueConstraint("tenant_id", "idempotency_key"),
    ForeignKeyConstraint(
        ["run_id"], ["ledger_holds.run_id"], deferrable=True, initially="DEFERRED", use_alter=True
    ),
    ForeignKeyConstraint(
        ["resolved_run_id", "charged"],
        ["ledger_resolutions.run_id", "ledger_resolutions.posted"],
        deferrable=True,
        initially="DEFERRED",
        use_alter=True,
    ),
    CheckConstraint(
        "status IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')", name="status"
    ),
    CheckConstraint(
        "money_state IN ('RESERVED', 'SETTLED', 'REFUNDED', 'AUDIT_REQUIRED')", name="money_state"
    ),
    CheckConstraint("finalize_stage IN ('CLAIMED', 'COMMITTED')", name="finalize_stage"),
    CheckConstraint("resolved_run_id = run_id", name="own_resolution"),
    CheckConstraint("is_open = (resolved_run_id IS NULL)", name="open_or_resolved"),
    CheckConstraint("(resolved_run_id IS NULL) = (charged IS NULL)", name="resolved_with_charge"),
    CheckConstraint("status <> 'PROCESSING' OR lease_token IS NOT NULL", name="leased"),
    CheckConstraint(
        "(finalize_stage IS NULL) = (finalize_token IS NULL)"
        " AND (finalize_stage IS NULL OR (claimed_at IS NOT NULL AND actual_micros IS NOT NULL))",
        name="claimed",
    ),
    CheckConstraint("money_state <> 'SETTLED' OR charged > 0", name="settled_is_charged"),
    CheckConstraint("money_state <> 'RESERVED' OR is_open", name="reserved_is_open"),
    CheckConstraint("money_state NOT IN ('SETTLED', 'REFUNDED') OR NOT is_open", name="ended_is_closed"),
    CheckConstraint(
        "status <> 'COMPLETED' OR (result_objects IS NOT NULL AND charged > 0)", name="completed_has_result"
    ),
    CheckConstraint("refunded_micros BETWEEN 0 AND coalesce(charged, 0)", name="refunded"),
    Index("runs_tenant_id_run_id_idx", "tenant_id", "run_id"),
    Index("runs_queued_idx", "tenant_id", "queued_at", "run_id", postgresql_where=text("status = 'QUEUED'")),
    Index("runs_processing_idx", "tenant_id", postgresql_where=text("status = 'PROCESSING'")),
    Index("runs_lease_idx", "lease_expires_at", postgresql_where=text("status = 'PROCESSING'")),
    Index("runs_claimed_idx", "claimed_at", postgresql_where=text("finalize_stage = 'CLAIMED'")),
    Index(
        "runs_retention_idx",
        "retention_until",
        postgresql_where=text("NOT is_open AND status <> 'EXPIRED'"),
    ),
    Index("runs_resolved_idx", "resolved_run_id", "charged"),
)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to queue; ``inputs`` and ``meta`` are JSON texts, ``receipt`` is the body that its client is answered."""

    run_id: UUID
    pack_type: str
    pack_version: str
    price_version: str
    inputs: str
    inputs_sha256: bytes
    quote_micros: int
    timebox_seconds: int
    queue_seconds: int
    min_reliability_milli: int | None
    label: str | None
    meta: str
    webhook_url: str | None
    idempotency_key: str
    fingerprint: bytes
    credential: str
    plan: str
    plan_version: int
    max_attempts: int
    created_at: datetime
    retention_until: datetime
    receipt: bytes


_NEW: Final = """
INSERT INTO runs (run_id, pack_type, pack_version, price_version, inputs, inputs_sha256, quote_micros, timebox_seconds,
  queue_seconds, min_reliability_milli, label, meta, webhook_url, idempotency_key, fingerprint, credential, plan,
  plan_version, max_attempts, created_at, retention_until, receipt,
  tenant_id, status, money_state, version, attempt, updated_at, queued_at, refunded_micros)
SELECT run_id, pack_type, pack_version, price_version, inputs::jsonb, inputs_sha256, quote_micros, timebox_seconds,
  queue_seconds, min_reliability_milli, label, meta::jsonb, webhook_url, idempotency_key, fingerprint, credential, plan,
  plan_version, max_attempts, created_at, retention_until, receipt,
  $1, 'QUEUED', 'RESERVED', 1, 0, created_at, created_at, 0
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bigint[], $9::int[],
  $10::int[], $11::int[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[],
  $19::int[], $20::int[], $21::timestamptz[], $22::timestamptz[], $23::bytea[])
  AS new(run_id, pack_type, pack_version, price_version, inputs, inputs_sha256, quote_micros, timebox_seconds,
  queue_seconds, min_reliability_milli, label, meta, webhook_url, idempotency_key, fingerprint, credential, plan,
  plan_version, max_attempts, created_at, retention_until, receipt)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands; ``hold`` is what it may cost, in micros."""

    run_id: UUID
    tenant_id: UUID
    pack_type: str
    pack_version: str
    price_version: str
    status: str
    money_state: str
    version: int
    inputs: Any
    inputs_sha256: bytes
    quote_micros: int
    timebox_seconds: int
    queue_seconds: int
    min_reliability_milli: int | None
    label: str | None
    meta: dict[str, Any]
    webhook_url: str | None
    plan: str
    attempt: int
    max_attempts: int
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    retention_until: datetime
    cancel_requested_at: datetime | None
    lease_token: UUID | None
    lease_expires_at: datetime | None
    finalize_stage: str | None
    finalize_token: UUID | None
    claimed_at: datetime | None
    result_objects: list[dict[str, Any]] | None
    actual_micros: int | None
    reason_code: str | None
    error: dict[str, Any] | None
    charged: int | None
    refunded_micros: int
    hold: int

    @property
    def is_open(self) -> bool:
        """Whether its hold is not resolved."""
        return self.status in {"QUEUED", "PROCESSING"}


RUN: Final = (
    "runs.run_id, runs.tenant_id, pack_type, pack_version, price_version, status, money_state, version, inputs,"
    " inputs_sha256, quote_micros, timebox_seconds, queue_seconds, min_reliability_milli, label, meta, webhook_url,"
    " plan, attempt, max_attempts, runs.created_at, updated_at, queued_at, started_at, completed_at, retention_until,"
    " cancel_requested_at, lease_token, lease_expires_at, finalize_stage, finalize_token, claimed_at, result_objects,"
    " actual_micros, reason_code, error, charged, refunded_micros,"
    " (SELECT amount FROM ledger_holds AS held WHERE held.run_id = runs.run_id) AS hold"
)


async def insert_runs(tx: Tx, tenant_id: UUID, new: Sequence[NewRun]) -> None:
    """Queue runs; their holds have to follow in the same transaction."""
    columns = [list(column) for column in zip(*map(astuple, new), strict=True)]
    await tx.run(_NEW, tenant_id, *columns)


async def find_keys(
    tx: Tx, tenant_id: UUID, keys: Sequence[str]
) -> dict[str, tuple[UUID, bytes, bytes | None]]:
    """Return which keys are taken: by which run, its fingerprint, and the receipt as long as it is kept."""
    rows = await tx.fetch(
        "SELECT idempotency_key, run_id, fingerprint, receipt FROM runs"
        " WHERE tenant_id = $1 AND idempotency_key = ANY ($2::text[])",
        tenant_id,
        keys,
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def find_run(tx: Tx, tenant_id: UUID, run_id: UUID, *, lock: bool = False) -> Run | None:
    """Return a run of a tenant, or None; ``lock`` keeps everybody else from it until the end of the transaction."""
    row = await tx.fetch_row(
        f"SELECT {RUN} FROM runs WHERE tenant_id = $1 AND run_id = $2{' FOR UPDATE' if lock else ''}",
        tenant_id,
        run_id,
    )
    return None if row is None else Run(*row)


async def find_any_run(tx: Tx, run_id: UUID) -> Run | None:
    """Return a run of whichever tenant, locked, for the staff of the platform; None: there is none."""
    row = await tx.fetch_row(f"SELECT {RUN} FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
    return None if row is None else Run(*row)


async def change(tx: Tx, run: Run, now: datetime, sets: Mapping[str, Any], where: str = "true") -> Run | None:
    """Take a run to its next version; None when it is at another one, or ``where`` does not hold: then nothing is done.

    Args:
        tx: The transaction.
        run: The run as it was read.
        now: When.
        sets: New values by column.
        where: What else has to hold, over the row's columns; ``$3`` is ``now``.
    """
    names = ", ".join(f"{name} = ${number}" for number, name in enumerate(sets, 4))
    row = await tx.fetch_row(
        f"UPDATE runs SET version = version + 1, updated_at = $3, {names}"
        f" WHERE run_id = $1 AND version = $2 AND {where} RETURNING {RUN}",
        run.run_id,
        run.version,
        now,
        *(msgspec.json.encode(v).decode() if isinstance(v, (list, dict)) else v for v in sets.values()),
    )
    return None if row is None else Run(*row)


# Tenants with queued runs, in turns: a walk from one to the next, however many rows each has.
_TENANTS: Final = """
WITH RECURSIVE waiting(tenant_id) AS (
  (SELECT tenant_id FROM runs WHERE status = 'QUEUED' AND tenant_id > $1 ORDER BY tenant_id LIMIT 1)
  UNION ALL
  SELECT (SELECT tenant_id FROM runs WHERE status = 'QUEUED' AND tenant_id > waiting.tenant_id
          ORDER BY tenant_id LIMIT 1)
  FROM waiting WHERE waiting.tenant_id IS NOT NULL
)
SELECT tenant_id FROM (SELECT tenant_id FROM waiting WHERE tenant_id IS NOT NULL LIMIT $2) AS turn
WHERE pg_try_advisory_xact_lock(hashtextextended('runs ' || tenant_id, 0))
"""
_CLAIM: Final = f"""
WITH chosen AS MATERIALIZED (
  SELECT picked.run_id FROM unnest($1::uuid[], $2::int[]) AS asked(tenant_id, most)
  CROSS JOIN LATERAL (
    SELECT run_id FROM runs WHERE runs.tenant_id = asked.tenant_id AND status = 'QUEUED'
      AND queued_at + queue_seconds * interval '1 second' > $3
    ORDER BY queued_at, run_id
    LIMIT least($5, greatest(0, asked.most - (
      SELECT count(*) FROM runs AS busy WHERE busy.tenant_id = asked.tenant_id AND busy.status = 'PROCESSING'
        AND busy.money_state <> 'AUDIT_REQUIRED')))
    FOR UPDATE SKIP LOCKED
  ) AS picked LIMIT $6
)
UPDATE runs SET status = 'PROCESSING', version = version + 1, attempt = attempt + 1, lease_token = gen_random_uuid(),
  lease_expires_at = $4, started_at = coalesce(started_at, $3), updated_at = $3
FROM chosen WHERE runs.run_id = chosen.run_id AND status = 'QUEUED' RETURNING {RUN}
"""


async def tenants_waiting(tx: Tx, after: UUID, most: int) -> list[UUID]:
    """Return tenants with queued runs after one in their order, each locked against other claimers."""
    return [row[0] for row in await tx.fetch(_TENANTS, after, most)]


async def claim(
    tx: Tx, limits: Mapping[UUID, int], now: datetime, lease_until: datetime, each: int, most: int
) -> list[Run]:
    """Lease queued runs of tenants that are locked: as many as each may have at work (``limits``)."""
    rows = await tx.fetch(_CLAIM, list(limits), list(limits.values()), now, lease_until, each, most)
    return [Run(*row) for row in rows]


async def renew(tx: Tx, tokens: Sequence[UUID], now: datetime, until: datetime) -> dict[UUID, bool]:
    """Renew leases that have not expired; return those that still stand, each with whether its end was asked for."""
    rows = await tx.fetch(
        "UPDATE runs SET lease_expires_at = $3 WHERE lease_token = ANY ($1::uuid[]) AND status = 'PROCESSING'"
        " AND lease_expires_at >= $2 RETURNING lease_token, cancel_requested_at IS NOT NULL",
        tokens,
        now,
        until,
    )
    return {row[0]: row[1] for row in rows}


async def ask_to_cancel(tx: Tx, run: Run, now: datetime) -> Run:
    """Ask the worker of a run, whose row is locked, to end it; return the run as it stands then."""
    row = await tx.fetch_row(
        "UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, $2), updated_at = $2 WHERE run_id = $1"
        f" RETURNING {RUN}",
        run.run_id,
        now,
    )
    return run if row is None else Run(*row)


async def _some(tx: Tx, condition: str, now: datetime, most: int) -> list[Run]:
    rows = await tx.fetch(f"SELECT {RUN} FROM runs WHERE {condition} LIMIT $2", now, most)
    return [Run(*row) for row in rows]


async def overdue(tx: Tx, now: datetime, most: int) -> list[Run]:
    """Return runs whose worker is silent, and queued ones whose time is over."""
    lost = await _some(
        tx, "status = 'PROCESSING' AND finalize_stage IS NULL AND lease_expires_at < $1", now, most
    )
    late = await _some(
        tx, "status = 'QUEUED' AND queued_at + queue_seconds * interval '1 second' < $1", now, most
    )
    return lost + late


async def unfinished(tx: Tx, before: datetime, most: int) -> list[Run]:
    """Return runs that were claimed for their end before an instant and have not ended."""
    return await _some(
        tx,
        "finalize_stage = 'CLAIMED' AND status = 'PROCESSING' AND money_state = 'RESERVED' AND claimed_at < $1",
        before,
        most,
    )


async def past_retention(tx: Tx, now: datetime, most: int) -> list[Run]:
    """Return ended runs whose results are no longer kept."""
    return await _some(tx, "NOT is_open AND status <> 'EXPIRED' AND retention_until <= $1", now, most)
