"""Members, sessions and sign-in links: tables and statements. Cookies and links are stored as digests only."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    insert,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import Tx, metadata
from guardhouse.identity.store import LABELLED_TENANT_SQL, Tenant, labelled_tenant

_INSTANT = DateTime(timezone=True)

members = Table(
    "members",
    metadata,
    Column("member_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("email", Text),
    Column("name", Text),
    Column("role", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("last_sign_in_at", _INSTANT),
    UniqueConstraint("tenant_id", "issuer", "subject"),
    Index("members_tenant_id_created_at_idx", "tenant_id", "created_at", "member_id"),
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("link_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("member_id", Uuid, ForeignKey("members.member_id", ondelete="CASCADE")),
    Column("key_id", Uuid, ForeignKey("api_keys.key_id", ondelete="CASCADE")),
    Column("link_id", Uuid),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("issuer_id", Uuid),
    Column("sid", Text),
    Column("sub", Text),
    Column("created_at", _INSTANT, nullable=False),
    Column("seen_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("ip", Text),
    Column("user_agent", Text),
    Index("sessions_tenant_id_created_at_idx", "tenant_id", "created_at", "session_id"),
    CheckConstraint("num_nonnulls(member_id, key_id, link_id) = 1", name="holder"),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One person of a tenant, as the issuer knows them. ``version`` counts the changes of the row."""

    id: UUID
    tenant_id: UUID
    issuer: str
    subject: str
    email: str | None
    name: str | None
    role: str
    state: str
    version: int
    created_at: datetime
    last_sign_in_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in that lasts. Exactly one of member, key and link holds it; ``digest`` stands for its cookie."""

    id: UUID
    tenant: Tenant
    digest: bytes
    member_id: UUID | None
    key_id: UUID | None
    link_id: UUID | None
    role: str
    scopes: tuple[str, ...]
    issuer_id: UUID | None
    sid: str | None
    sub: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    ip: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class SignInLink:
    """One link that opens a session once."""

    id: UUID
    tenant: Tenant
    role: str
    created_by: str
    expires_at: datetime


_MEMBER: Final = (
    "member_id, tenant_id, issuer, subject, email, name, role, state, version, created_at, last_sign_in_at"
)
_SESSION: Final = (
    "session_id, digest, member_id, key_id, link_id, role, scopes, issuer_id, sid, sub, s.created_at, seen_at,"
    " expires_at, ip, user_agent"
)
_SESSIONS: Final = (
    f"SELECT {_SESSION}, {LABELLED_TENANT_SQL} FROM sessions s JOIN tenants t USING (tenant_id)"
)


def _member(row: asyncpg.Record) -> Member:
    return Member(*row)


def _session(row: asyncpg.Record) -> Session:
    values: dict[str, Any] = {name: row[name] for name in Session.__slots__ if name not in {"id", "tenant"}}
    values["scopes"] = tuple(values["scopes"])
    return Session(id=row["session_id"], tenant=labelled_tenant(row), **values)


async def now(tx: Tx) -> datetime:
    """Return when this transaction began."""
    instant: datetime = await tx.fetch_value("SELECT now()")
    return instant


async def find_member(tx: Tx, tenant_id: UUID, issuer: str, subject: str) -> Member | None:
    """Return the member whom an issuer calls ``subject``, held until the end of this transaction."""
    row = await tx.fetch_row(
        f"SELECT {_MEMBER} FROM members WHERE tenant_id = $1 AND issuer = $2 AND subject = $3 FOR UPDATE",
        tenant_id,
        issuer,
        subject,
    )
    return None if row is None else _member(row)


async def get_member(tx: Tx, tenant_id: UUID, member_id: UUID, *, lock: bool = False) -> Member | None:
    """Return one member of a tenant."""
    row = await tx.fetch_row(
        f"SELECT {_MEMBER} FROM members WHERE tenant_id = $1 AND member_id = $2"
        + (" FOR UPDATE" if lock else ""),
        tenant_id,
        member_id,
    )
    return None if row is None else _member(row)


async def list_members(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[Member]:
    """Return members of a tenant, newest first."""
    rows = await tx.fetch(
        f"SELECT {_MEMBER} FROM members WHERE tenant_id = $1"
        " AND ($3::timestamptz IS NULL OR (created_at, member_id) < ($3, $4::uuid))"
        " ORDER BY created_at DESC, member_id DESC LIMIT $2",
        tenant_id,
        limit,
        *(after or (None, None)),
    )
    return [_member(row) for row in rows]


async def add_member(tx: Tx, member: Member) -> bool:
    """Insert a member who signs in now; False when the issuer's subject is there already."""
    tag = await tx.run(
        f"INSERT INTO members ({_MEMBER}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        " ON CONFLICT (tenant_id, issuer, subject) DO NOTHING",
        *(getattr(member, name) for name in Member.__slots__),
    )
    return tag.endswith(" 1")


async def save_member(tx: Tx, member: Member) -> None:
    """Write what may change of a member."""
    await tx.run(
        "UPDATE members SET email = $3, name = $4, role = $5, state = $6, version = $7, last_sign_in_at = $8"
        " WHERE tenant_id = $1 AND member_id = $2",
        member.tenant_id,
        member.id,
        member.email,
        member.name,
        member.role,
        member.state,
        member.version,
        member.last_sign_in_at,
    )


async def delete_member(tx: Tx, tenant_id: UUID, member_id: UUID) -> None:
    """Take a member out, with the sessions."""
    await tx.run("DELETE FROM members WHERE tenant_id = $1 AND member_id = $2", tenant_id, member_id)


async def lock_admins(tx: Tx, tenant_id: UUID) -> list[UUID]:
    """Return the active admins among the members, whom nobody else may change until the end of this transaction."""
    rows = await tx.fetch(
        "SELECT member_id FROM members WHERE tenant_id = $1 AND role = 'admin' AND state = 'active'"
        " ORDER BY member_id FOR UPDATE",
        tenant_id,
    )
    return [row["member_id"] for row in rows]


async def has_admin_key(tx: Tx, tenant_id: UUID, now: datetime) -> bool:
    """Tell whether some API key can still do all an admin can."""
    return bool(
        await tx.fetch_value(
            "SELECT EXISTS (SELECT FROM api_keys WHERE tenant_id = $1 AND role IN ('admin', 'platform')"
            " AND state = 'active' AND 'members:write' = ANY (scopes) AND (expires_at IS NULL OR expires_at > $2))",
            tenant_id,
            now,
        )
    )


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to insert, member by column."""

    session_id: UUID
    tenant_id: UUID
    digest: bytes
    member_id: UUID | None
    key_id: UUID | None
    link_id: UUID | None
    role: str
    scopes: list[str]
    issuer_id: UUID | None
    sid: str | None
    sub: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    ip: str | None
    user_agent: str | None


async def add_session(tx: Tx, session: NewSession) -> None:
    """Insert a session."""
    await tx.execute(insert(sessions).values(asdict(session)))


async def find_session(tx: Tx, digest: bytes) -> tuple[Session, bool] | None:
    """Return the session of a cookie's digest, and whether its member may still come in (true without one)."""
    row = await tx.fetch_row(
        f"SELECT {_SESSION}, {LABELLED_TENANT_SQL}, coalesce((SELECT m.state = 'active' FROM members m"
        " WHERE m.member_id = s.member_id), true) AS welcome"
        " FROM sessions s JOIN tenants t USING (tenant_id) WHERE digest = $1",
        digest,
    )
    return None if row is None else (_session(row), row["welcome"])


async def get_session(tx: Tx, tenant_id: UUID, session_id: UUID) -> Session | None:
    """Return one session of a tenant."""
    row = await tx.fetch_row(f"{_SESSIONS} WHERE s.tenant_id = $1 AND session_id = $2", tenant_id, session_id)
    return None if row is None else _session(row)


async def list_sessions(
    tx: Tx, tenant_id: UUID, holder: UUID | None, limit: int, after: tuple[datetime, UUID] | None
) -> list[Session]:
    """Return sessions of a tenant, newest first; ``holder`` is a member, key or link."""
    rows = await tx.fetch(
        f"{_SESSIONS} WHERE s.tenant_id = $1 AND ($3::uuid IS NULL OR $3 IN (member_id, key_id, link_id))"
        " AND ($4::timestamptz IS NULL OR (s.created_at, session_id) < ($4, $5::uuid))"
        " ORDER BY s.created_at DESC, session_id DESC LIMIT $2",
        tenant_id,
        limit,
        holder,
        *(after or (None, None)),
    )
    return [_session(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Which:
    """Sessions to end: every member that is set must fit."""

    session_id: UUID | None = None
    member_id: UUID | None = None
    sid: str | None = None
    sub: str | None = None
    issuer_id: UUID | None = None


async def end_sessions(tx: Tx, tenant_id: UUID, which: Which) -> list[UUID]:
    """Delete sessions and return their ids."""
    rows = await tx.fetch(
        "DELETE FROM sessions WHERE tenant_id = $1 AND ($2::uuid IS NULL OR session_id = $2)"
        " AND ($3::uuid IS NULL OR member_id = $3) AND ($4::text IS NULL OR sid = $4)"
        " AND ($5::text IS NULL OR sub = $5) AND ($6::uuid IS NULL OR issuer_id = $6) RETURNING session_id",
        tenant_id,
        which.session_id,
        which.member_id,
        which.sid,
        which.sub,
        which.issuer_id,
    )
    return [row["session_id"] for row in rows]


async def end_replaced(tx: Tx, digest: bytes) -> bool:
    """Delete the session of a cookie's digest; tells whether there was one."""
    return not (await tx.run("DELETE FROM sessions WHERE digest = $1", digest)).endswith(" 0")


async def mark_seen(tx: Tx, seen: list[tuple[UUID, datetime]]) -> None:
    """Write when sessions were last used, in one statement, in id order so that two writers cannot deadlock."""
    ordered = sorted(seen)
    await tx.run(
        "UPDATE sessions s SET seen_at = u.at FROM unnest($1::uuid[], $2::timestamptz[]) AS u(id, at)"
        " WHERE s.session_id = u.id AND s.seen_at < u.at",
        [session_id for session_id, _ in ordered],
        [at for _, at in ordered],
    )


async def prune(tx: Tx, now: datetime, idle_edge: datetime) -> None:
    """Delete sessions and links that open nothing any more."""
    await tx.run("DELETE FROM sessions WHERE expires_at <= $1 OR seen_at <= $2", now, idle_edge)
    await tx.run("DELETE FROM sign_in_links WHERE expires_at <= $1", now)


async def add_link(tx: Tx, link: SignInLink, digest: bytes, created_at: datetime) -> None:
    """Insert a one-time link."""
    row = {"link_id": link.id, "tenant_id": link.tenant.id, "digest": digest, "created_at": created_at}
    row |= {"role": link.role, "created_by": link.created_by, "expires_at": link.expires_at}
    await tx.execute(insert(sign_in_links).values(row))


async def take_link(tx: Tx, digest: bytes, now: datetime) -> SignInLink | None:
    """Take a link out and return it when it is still good: of two that come at once, one gets it."""
    row = await tx.fetch_row(
        f"WITH l AS (DELETE FROM sign_in_links WHERE digest = $1 RETURNING *)"
        f" SELECT l.link_id, l.role, l.created_by, l.expires_at, {LABELLED_TENANT_SQL}"
        " FROM l JOIN tenants t USING (tenant_id) WHERE l.expires_at > $2",
        digest,
        now,
    )
    if row is None:
        return None
    return SignInLink(row["link_id"], labelled_tenant(row), row["role"], row["created_by"], row["expires_at"])
