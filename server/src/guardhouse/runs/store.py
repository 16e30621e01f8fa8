"""The table of runs. What it says of money is tied to the ledger by keys that PostgreSQL checks at each commit."""

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

from guardhouse.foundation.database import metadata

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
    Index("runs_lease_idx", "lease_expires_at", postgresql_where=text("status = 'PROCESSING'")),
    Index("runs_claimed_idx", "claimed_at", postgresql_where=text("finalize_stage = 'CLAIMED'")),
    Index(
        "runs_retention_idx",
        "retention_until",
        postgresql_where=text("NOT is_open AND status <> 'EXPIRED'"),
    ),
    Index("runs_resolved_idx", "resolved_run_id", "charged"),
)
