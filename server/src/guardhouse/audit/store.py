"""The audit log's tables and statements. Sequence, time, previous hash and hash are the database's own."""

from dataclasses import astuple, dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False),
    Column("credential", Text),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("reason", Text),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("correlation_id", Text, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
    Index("audit_log_tenant_id_at_idx", "tenant_id", "at", "seq"),
)

_APPEND: Final = """
INSERT INTO audit_log (tenant_id, actor, credential, action, target, before, after, reason, ip, user_agent,
                       correlation_id)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8, $9, $10, $11)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """What is written of one entry; ``before`` and ``after`` are JSON texts."""

    tenant_id: UUID
    actor: str
    credential: str | None
    action: str
    target: str
    before: str | None
    after: str | None
    reason: str | None
    ip: str | None
    user_agent: str | None
    correlation_id: str


async def append(tx: Tx, line: Line) -> None:
    """Write one entry; a trigger gives it its place in the chain."""
    await tx.run(_APPEND, *astuple(line))
