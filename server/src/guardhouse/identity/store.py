"""Tenants, API keys, and the keys and nonces of agents: tables and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("tenant_no", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("env", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    CheckConstraint("state IN ('active', 'suspended', 'closed')", name="state"),
    CheckConstraint("env IN ('live', 'test')", name="env"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("project_id", Uuid),
    Column("env", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_kid", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("expires_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", _INSTANT),
    UniqueConstraint("digest"),
    Index("api_keys_tenant_id_created_at_idx", "tenant_id", "created_at", "key_id"),
    CheckConstraint("state IN ('active', 'suspended', 'revoked')", name="state"),
)

agent_keys = Table(
    "agent_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("legacy", Boolean, nullable=False),
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
class Tenant:
    """One organisation. ``no`` is its compact number inside telemetry rows."""

    id: UUID
    no: int
    slug: str
    name: str
    state: str

    @property
    def key(self) -> TenantKey:
        """The tenant as transactions take it."""
        return TenantKey(self.id, self.no)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key as stored: everything but the key itself."""

    id: UUID
    tenant: Tenant
    name: str
    role: str
    scopes: tuple[str, ...]
    project_id: UUID | None
    env: str
    state: str
    prefix: str
    last4: str
    expires_at: datetime | None
    created_at: datetime
    created_by: str
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AgentKey:
    """One sealed HMAC key of a host agent; ``legacy`` says that the older headers may use it."""

    tenant: Tenant
    agent_id: str
    n: int
    sealed: bytes
    legacy: bool
    valid_until: datetime | None


_TENANT = (tenants.c.tenant_id, tenants.c.tenant_no, tenants.c.slug, tenants.c.name, tenants.c.state)
_KEY = (
    api_keys.c.key_id,
    api_keys.c.name,
    api_keys.c.role,
    api_keys.c.scopes,
    api_keys.c.project_id,
    api_keys.c.env,
    api_keys.c.state,
    api_keys.c.prefix,
    api_keys.c.last4,
    api_keys.c.expires_at,
    api_keys.c.created_at,
    api_keys.c.created_by,
    api_keys.c.last_used_at,
)
_KEY_NAMES = tuple(column.name for column in _KEY)
_KEYS = select(*_TENANT, *(column.label(f"key_{column.name}") for column in _KEY)).join_from(
    api_keys, tenants, api_keys.c.tenant_id == tenants.c.tenant_id
)


def _tenant(row: Any) -> Tenant:
    return Tenant(row.tenant_id, row.tenant_no, row.slug, row.name, row.state)


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.key_key_id,
        tenant=_tenant(row),
        name=row.key_name,
        role=row.key_role,
        scopes=tuple(row.key_scopes),
        project_id=row.key_project_id,
        env=row.key_env,
        state=row.key_state,
        prefix=row.key_prefix,
        last4=row.key_last4,
        expires_at=row.key_expires_at,
        created_at=row.key_created_at,
        created_by=row.key_created_by,
        last_used_at=row.key_last_used_at,
    )


async def add_tenant(tx: Tx, tenant_id: UUID, slug: str, name: str, now: datetime) -> Tenant:
    """Insert a tenant and return it with its number."""
    row = await tx.execute(
        insert(tenants)
        .values(
            tenant_id=tenant_id, slug=slug, name=name, state="active", env="live", settings={}, created_at=now
        )
        .returning(*_TENANT)
    )
    return _tenant(row.one())


async def find_tenant(tx: Tx, slug: str) -> Tenant | None:
    """Return the tenant with this slug."""
    row = (await tx.execute(select(*_TENANT).where(tenants.c.slug == slug))).one_or_none()
    return None if row is None else _tenant(row)


async def list_tenants(tx: Tx) -> list[Tenant]:
    """Return every tenant, oldest number first."""
    return [_tenant(row) for row in await tx.execute(select(*_TENANT).order_by(tenants.c.tenant_no))]


async def add_key(tx: Tx, key: ApiKey, digest: bytes, pepper_kid: str) -> None:
    """Insert one API key with the digest that stands for it."""
    row = {column: getattr(key, "id" if column == "key_id" else column) for column in _KEY_NAMES}
    row |= {
        "tenant_id": key.tenant.id,
        "scopes": list(key.scopes),
        "digest": digest,
        "pepper_kid": pepper_kid,
    }
    await tx.execute(insert(api_keys).values(row))


async def find_key(tx: Tx, digests: Sequence[bytes]) -> tuple[ApiKey, bytes] | None:
    """Return the key whose digest is one of these (one per live pepper), and which one it is."""
    query = _KEYS.add_columns(api_keys.c.digest).where(api_keys.c.digest.in_(digests))
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_api_key(row), row.digest)


async def set_key_digest(tx: Tx, key_id: UUID, digest: bytes, pepper_kid: str) -> None:
    """Store a key under another pepper's digest."""
    await tx.execute(
        update(api_keys).where(api_keys.c.key_id == key_id).values(digest=digest, pepper_kid=pepper_kid)
    )


async def get_key(tx: Tx, tenant_id: UUID, key_id: UUID) -> ApiKey | None:
    """Return one key of a tenant."""
    row = (
        await tx.execute(_KEYS.where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id))
    ).one_or_none()
    return None if row is None else _api_key(row)


async def find_by_prefix(tx: Tx, tenant_id: UUID, prefix: str) -> list[ApiKey]:
    """Return the keys of a tenant with this prefix."""
    query = _KEYS.where(api_keys.c.tenant_id == tenant_id, api_keys.c.prefix == prefix)
    return [_api_key(row) for row in await tx.execute(query)]


async def list_keys(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[ApiKey]:
    """Return keys of a tenant, newest first."""
    query = _KEYS.where(api_keys.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(func.row(api_keys.c.created_at, api_keys.c.key_id) < func.row(*after))
    query = query.order_by(api_keys.c.created_at.desc(), api_keys.c.key_id.desc()).limit(limit)
    return [_api_key(row) for row in await tx.execute(query)]


async def set_key_state(tx: Tx, tenant_id: UUID, key_id: UUID, state: str) -> bool:
    """Change a key's state; tells whether there is such a key."""
    done = await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
        .values(state=state)
    )
    return done.rowcount == 1


async def notify_change(tx: Tx) -> None:
    """Tell every process, at commit, that credentials have changed."""
    await tx.run("SELECT pg_notify('identity', '')")


async def mark_used(tx: Tx, used: Sequence[tuple[UUID, datetime]]) -> None:
    """Write the last use of many keys in one statement, in key order so that two writers cannot deadlock."""
    ordered = sorted(used)
    await tx.run(
        "UPDATE api_keys k SET last_used_at = u.at FROM unnest($1::uuid[], $2::timestamptz[]) AS u(id, at)"
        " WHERE k.key_id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)",
        [key_id for key_id, _ in ordered],
        [at for _, at in ordered],
    )


async def add_agent_key(
    tx: Tx, tenant_id: UUID, agent_id: str, sealed: bytes, *, legacy: bool, now: datetime
) -> int:
    """Insert the next key of an agent and return its number."""
    number: int = await tx.fetch_value(
        "INSERT INTO agent_keys (tenant_id, agent_id, n, sealed, legacy, created_at)"
        " SELECT $1, $2, coalesce(max(n), 0) + 1, $3, $4, $5 FROM agent_keys WHERE tenant_id = $1 AND agent_id = $2"
        " RETURNING n",
        tenant_id,
        agent_id,
        sealed,
        legacy,
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


async def set_agent_legacy(tx: Tx, tenant_id: UUID, agent_id: str, *, legacy: bool) -> None:
    """Open or close the legacy headers for every key of an agent."""
    await tx.run(
        "UPDATE agent_keys SET legacy = $3 WHERE tenant_id = $1 AND agent_id = $2",
        tenant_id,
        agent_id,
        legacy,
    )


async def find_agent_keys(tx: Tx, agent_id: str, n: int | None) -> list[AgentKey]:
    """Return the keys under this agent id in all tenants; ``n=None`` gives every number."""
    query = select(*_TENANT, agent_keys).join_from(
        agent_keys, tenants, agent_keys.c.tenant_id == tenants.c.tenant_id
    )
    query = query.where(agent_keys.c.agent_id == agent_id)
    if n is not None:
        query = query.where(agent_keys.c.n == n)
    return [
        AgentKey(_tenant(row), row.agent_id, row.n, row.sealed, row.legacy, row.valid_until)
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
    tag = await tx.run(
        "DELETE FROM agent_nonces WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM agent_nonces WHERE expires_at < $1 LIMIT $2))",
        now,
        limit,
    )
    return int(tag.rpartition(" ")[2])
