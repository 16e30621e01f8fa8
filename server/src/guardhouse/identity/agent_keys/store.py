"""Keys and nonces of agents: tables and statements."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    select,
)

from guardhouse.foundation.database import Tx, metadata
from guardhouse.identity.store import TENANT_COLUMNS, Tenant, tenant_of, tenants

_INSTANT = DateTime(timezone=True)

agent_keys = Table(
    "agent_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("legacy", Boolean, nullable=False),
    Column("rfc9421", Boolean, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("valid_until", _INSTANT),
    PrimaryKeyConstraint("tenant_id", "agent_id", "n"),
    Index("agent_keys_agent_id_idx", "agent_id"),
)

agent_nonces = Table(
    "agent_nonces",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("keyid", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "keyid", "nonce"),
    Index("agent_nonces_expires_at_idx", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class AgentKey:
    """One sealed HMAC key of a host agent; ``rfc9421`` and ``legacy`` say what it may be used for."""

    tenant: Tenant
    agent_id: str
    n: int
    sealed: bytes
    rfc9421: bool
    legacy: bool
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Modes:
    """Which signatures the keys of an agent are good for."""

    rfc9421: bool = True
    legacy: bool = False


async def add_agent_key(
    tx: Tx, tenant_id: UUID, agent_id: str, sealed: bytes, modes: Modes, now: datetime
) -> int:
    """Insert the next key of an agent and return its number."""
    number: int = await tx.fetch_value(
        "INSERT INTO agent_keys (tenant_id, agent_id, n, sealed, rfc9421, legacy, created_at)"
        " SELECT $1, $2, coalesce(max(n), 0) + 1, $3, $4, $5, $6 FROM agent_keys"
        " WHERE tenant_id = $1 AND agent_id = $2 RETURNING n",
        tenant_id,
        agent_id,
        sealed,
        modes.rfc9421,
        modes.legacy,
        now,
    )
    return number


async def end_agent_keys(
    tx: Tx, tenant_id: UUID, agent_id: str, until: datetime, *, below: int | None = None
) -> None:
    """Let the keys of an agent (those numbered below ``below``, or all) end at an instant, or sooner as set."""
    await tx.run(
        "UPDATE agent_keys SET valid_until = least(valid_until, $3)"
        " WHERE tenant_id = $1 AND agent_id = $2 AND ($4::int IS NULL OR n < $4)",
        tenant_id,
        agent_id,
        until,
        below,
    )


async def set_agent_modes(tx: Tx, tenant_id: UUID, agent_id: str, modes: Modes) -> None:
    """Open or close each kind of signature for every key of an agent."""
    await tx.run(
        "UPDATE agent_keys SET rfc9421 = $3, legacy = $4 WHERE tenant_id = $1 AND agent_id = $2",
        tenant_id,
        agent_id,
        modes.rfc9421,
        modes.legacy,
    )


async def find_agent_keys(tx: Tx, agent_id: str, n: int | None) -> list[AgentKey]:
    """Return the keys under this agent id in all tenants; ``n=None`` gives every number."""
    query = select(*TENANT_COLUMNS, agent_keys).join_from(
        agent_keys, tenants, agent_keys.c.tenant_id == tenants.c.tenant_id
    )
    query = query.where(agent_keys.c.agent_id == agent_id)
    if n is not None:
        query = query.where(agent_keys.c.n == n)
    return [
        AgentKey(tenant_of(row), row.agent_id, row.n, row.sealed, row.rfc9421, row.legacy, row.valid_until)
        for row in await tx.execute(query.order_by(tenants.c.tenant_no, agent_keys.c.n.desc()))
    ]


async def use_nonce(tx: Tx, tenant_id: UUID, keyid: str, nonce: bytes, expires_at: datetime) -> bool:
    """Record a nonce; False when this key has used it before. Waits for a concurrent use of the same one."""
    return (
        await tx.fetch_value(
            "INSERT INTO agent_nonces (tenant_id, keyid, nonce, expires_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING RETURNING true",
            tenant_id,
            keyid,
            nonce,
            expires_at,
        )
        is True
    )


async def prune_nonces(tx: Tx, now: datetime, limit: int) -> int:
    """Delete expired nonces, at most ``limit``; returns how many."""
    return await tx.delete_before("agent_nonces", "expires_at", now, limit)
