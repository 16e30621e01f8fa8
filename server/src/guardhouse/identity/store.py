"""Tenants and API keys: tables and statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    and_,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)
_FOREIGN_KEY = "23503"

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
    Column("twin_of", Uuid, ForeignKey("tenants.tenant_id"), unique=True),
    CheckConstraint("state IN ('active', 'suspended', 'closed')", name="state"),
    CheckConstraint("env IN ('live', 'test')", name="env"),
    CheckConstraint("twin_of IS NULL OR env = 'test'", name="twin"),
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
    Column("version", Integer, nullable=False),
    Column("rate_limit_per_minute", Integer),
    Column("rate_limit_per_day", Integer),
    Column("ip_allow", ARRAY(Text), nullable=False),
    Column("rotates_until", _INSTANT),
    Column("replaced_by", Uuid),
    Column("last_used_ip", Text),
    Column("exposed_at", _INSTANT),
    Column("expiry_told", Boolean, nullable=False),
    Column("policy_id", Uuid),
    UniqueConstraint("digest"),
    # A key is bound to a project of its own tenant or to none, whatever the code above believes.
    ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.project_id"]),
    # What is judged with the key is judged by this policy of detections; none: by the tenant's default.
    ForeignKeyConstraint(["tenant_id", "policy_id"], ["policies.tenant_id", "policies.policy_id"]),
    Index("api_keys_tenant_id_created_at_idx", "tenant_id", "created_at", "key_id"),
    Index(
        "api_keys_expires_at_idx",
        "expires_at",
        postgresql_where=text("expires_at IS NOT NULL AND NOT expiry_told"),
    ),
    CheckConstraint("state IN ('active', 'suspended', 'revoked')", name="state"),
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation. ``no`` is its compact number inside telemetry rows; ``twin_of`` is set for a test twin."""

    id: UUID
    no: int
    slug: str
    name: str
    state: str
    env: str
    twin_of: UUID | None
    created_at: datetime

    @property
    def key(self) -> TenantKey:
        """The tenant as transactions take it."""
        return TenantKey(self.id, self.no)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key as stored: everything but the key itself.

    ``state`` is what was decided (active, suspended, revoked); what time makes of it says :meth:`state_at`.
    ``rotates_until``: another key has replaced this one, which works until then. A limit of None is no limit.
    """

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
    last_used_at: datetime | None = None
    version: int = 1
    rate_limit_per_minute: int | None = None
    rate_limit_per_day: int | None = None
    ip_allow: tuple[str, ...] = ()
    rotates_until: datetime | None = None
    replaced_by: UUID | None = None
    last_used_ip: str | None = None
    exposed_at: datetime | None = None
    policy_id: UUID | None = None

    def state_at(self, now: datetime) -> str:
        """Return active, rotating, suspended, revoked or expired; the same as ``_state_at`` in SQL."""
        if self.state == "revoked" or (self.rotates_until is not None and self.rotates_until <= now):
            return "revoked"
        if self.state == "suspended":
            return "suspended"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.rotates_until is None else "rotating"


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys of a tenant are listed; None takes all. ``state`` is as it stands at ``now``."""

    now: datetime | None = None
    state: str | None = None
    role: str | None = None
    project_id: UUID | None = None
    key_id: UUID | None = None


EVERY_KEY = KeyFilter()
TENANT_COLUMNS = (
    tenants.c.tenant_id,
    tenants.c.tenant_no,
    tenants.c.slug,
    tenants.c.name,
    tenants.c.state,
    tenants.c.env,
    tenants.c.twin_of,
    tenants.c.created_at,
)
# The names of an ApiKey's members in their order; `id` and `tenant` are spelled otherwise in the table.
_MEMBERS = tuple(name for name in ApiKey.__slots__ if name not in {"id", "tenant"})
_KEYS = select(
    *TENANT_COLUMNS, api_keys.c.key_id, *(api_keys.c[name].label(f"key_{name}") for name in _MEMBERS)
).join_from(api_keys, tenants, api_keys.c.tenant_id == tenants.c.tenant_id)


def tenant_of(row: Any) -> Tenant:
    """Return the tenant of a row that holds ``TENANT_COLUMNS``."""
    return Tenant(
        row.tenant_id, row.tenant_no, row.slug, row.name, row.state, row.env, row.twin_of, row.created_at
    )


# The same beside columns of another table: each with `tenant_` before its name, for Core and for plain SQL over `t`.
LABELLED_TENANT: Final = tuple(column.label(f"tenant_{column.name}") for column in TENANT_COLUMNS)
LABELLED_TENANT_SQL: Final = ", ".join(
    f"t.{column.name} AS tenant_{column.name}" for column in TENANT_COLUMNS
)


def labelled_tenant(row: Any) -> Tenant:
    """Return the tenant of a mapping that holds ``LABELLED_TENANT``."""
    return Tenant(*(row[f"tenant_{column.name}"] for column in TENANT_COLUMNS))


def _api_key(row: Any) -> ApiKey:
    members = {name: getattr(row, f"key_{name}") for name in _MEMBERS}
    members |= {name: tuple(members[name]) for name in ("scopes", "ip_allow")}
    return ApiKey(id=row.key_id, tenant=tenant_of(row), **members)


def _state_at(now: datetime) -> ColumnElement[str]:
    return case(
        (or_(api_keys.c.state == "revoked", api_keys.c.rotates_until <= now), "revoked"),
        (api_keys.c.state == "suspended", "suspended"),
        (api_keys.c.expires_at <= now, "expired"),
        (api_keys.c.rotates_until.is_not(None), "rotating"),
        else_="active",
    )


async def add_tenant(tx: Tx, values: Mapping[str, Any]) -> Tenant | None:
    """Insert an active tenant and return it with its number; None when slug or twin is taken."""
    row = await tx.execute(
        upsert(tenants)
        .values({"state": "active", "settings": {}, **values})
        .on_conflict_do_nothing()
        .returning(*TENANT_COLUMNS)
    )
    found = row.one_or_none()
    return None if found is None else tenant_of(found)


async def _one_tenant(tx: Tx, condition: ColumnElement[bool], *, lock: bool = False) -> Tenant | None:
    query = select(*TENANT_COLUMNS).where(condition)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else tenant_of(row)


async def find_tenant(tx: Tx, slug: str) -> Tenant | None:
    """Return the tenant with this slug."""
    return await _one_tenant(tx, tenants.c.slug == slug)


async def find_tenant_by_id(tx: Tx, tenant_id: UUID) -> Tenant | None:
    """Return the tenant, or the twin, with this id."""
    return await _one_tenant(tx, tenants.c.tenant_id == tenant_id)


async def get_tenant(tx: Tx, tenant_id: UUID, *, lock: bool = False) -> Tenant | None:
    """Return a tenant, no twin; with ``lock`` nobody else changes it until the end of the transaction."""
    return await _one_tenant(
        tx, and_(tenants.c.tenant_id == tenant_id, tenants.c.twin_of.is_(None)), lock=lock
    )


async def find_twin(tx: Tx, tenant_id: UUID) -> Tenant | None:
    """Return the test twin of a tenant."""
    return await _one_tenant(tx, tenants.c.twin_of == tenant_id)


async def list_tenants(
    tx: Tx, *, state: str | None = None, after: int = 0, limit: int | None = None
) -> list[Tenant]:
    """Return tenants without their twins, oldest number first."""
    query = select(*TENANT_COLUMNS).where(tenants.c.twin_of.is_(None), tenants.c.tenant_no > after)
    if state is not None:
        query = query.where(tenants.c.state == state)
    return [tenant_of(row) for row in await tx.execute(query.order_by(tenants.c.tenant_no).limit(limit))]


async def set_tenant_state(tx: Tx, tenant_id: UUID, state: str) -> None:
    """Change the state of a tenant and of its twin."""
    owned = or_(tenants.c.tenant_id == tenant_id, tenants.c.twin_of == tenant_id)
    await tx.execute(update(tenants).where(owned).values(state=state))


class NoSuchProject(Exception):  # noqa: N818 - the one way in which a key's row can be wrong
    """The key's project is none of its tenant's."""


async def add_key(tx: Tx, key: ApiKey, digest: bytes, pepper_kid: str) -> None:
    """Insert one API key with the digest that stands for it.

    Raises:
        NoSuchProject: the transaction is of no more use.
    """
    row = {name: getattr(key, name) for name in _MEMBERS}
    row |= {
        "key_id": key.id,
        "tenant_id": key.tenant.id,
        "scopes": list(key.scopes),
        "ip_allow": list(key.ip_allow),
        "digest": digest,
        "pepper_kid": pepper_kid,
        "expiry_told": False,
    }
    try:
        await tx.execute(insert(api_keys).values(row))
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == _FOREIGN_KEY:
            raise NoSuchProject from error
        raise


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


async def get_key(tx: Tx, tenant_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
    """Return one key of a tenant; with ``lock`` nobody else changes it until the end of the transaction."""
    query = _KEYS.where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
    row = (await tx.execute(query.with_for_update(of=api_keys) if lock else query)).one_or_none()
    return None if row is None else _api_key(row)


async def list_keys(
    tx: Tx,
    tenant_id: UUID,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    wanted: KeyFilter = EVERY_KEY,
) -> list[ApiKey]:
    """Return keys of a tenant, newest first."""
    query = _KEYS.where(api_keys.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(func.row(api_keys.c.created_at, api_keys.c.key_id) < func.row(*after))
    if wanted.state is not None and wanted.now is not None:
        query = query.where(_state_at(wanted.now) == wanted.state)
    for name in ("role", "project_id", "key_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(api_keys.c[name] == value)
    query = query.order_by(api_keys.c.created_at.desc(), api_keys.c.key_id.desc()).limit(limit)
    return [_api_key(row) for row in await tx.execute(query)]


async def lock_unrevoked_keys(tx: Tx, tenant_id: UUID) -> list[UUID]:
    """Return the ids of a tenant's keys that were not revoked; nobody else changes them meanwhile."""
    rows = await tx.fetch(
        "SELECT key_id FROM api_keys WHERE tenant_id = $1 AND state <> 'revoked' ORDER BY key_id FOR UPDATE",
        tenant_id,
    )
    return [row["key_id"] for row in rows]


async def change_key(tx: Tx, key: ApiKey, values: Mapping[str, Any]) -> int:
    """Change members of a key and return its new version."""
    done = await tx.execute(
        update(api_keys)
        .where(api_keys.c.tenant_id == key.tenant.id, api_keys.c.key_id == key.id)
        .values({**values, "version": api_keys.c.version + 1})
        .returning(api_keys.c.version)
    )
    version: int = done.scalar_one()
    return version


async def notify_change(tx: Tx) -> None:
    """Tell every process, at commit, that credentials have changed."""
    await tx.run("SELECT pg_notify('identity', '')")


async def take_expiring(tx: Tx, now: datetime, until: datetime, limit: int) -> list[ApiKey]:
    """Return keys that still work and end before ``until``, each once: what is returned is marked as told."""
    rows = await tx.fetch(
        "UPDATE api_keys SET expiry_told = true WHERE key_id IN (SELECT key_id FROM api_keys"
        " WHERE expires_at > $1 AND expires_at <= $2 AND NOT expiry_told AND state = 'active'"
        " AND rotates_until IS NULL ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING key_id",
        now,
        until,
        limit,
    )
    found = await tx.execute(_KEYS.where(api_keys.c.key_id.in_([row["key_id"] for row in rows])))
    return [_api_key(row) for row in found]
