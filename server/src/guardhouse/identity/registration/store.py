"""Invitations and the addresses that registered lately: tables and statements."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

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
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import Tx, metadata
from guardhouse.foundation.ids import new_id

WINDOW: Final = timedelta(hours=1)
_INSTANT = DateTime(timezone=True)

invites = Table(
    "invites",
    metadata,
    Column("invite_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("note", Text),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("uses", Integer, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    UniqueConstraint("digest"),
    Index("invites_tenant_id_created_at_idx", "tenant_id", "created_at", "invite_id"),
    CheckConstraint("uses BETWEEN 0 AND max_uses", name="uses"),
)

registrations = Table(
    "registrations",
    metadata,
    Column("registration_id", Uuid, primary_key=True),
    Column("address", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Index("registrations_address_at_idx", "address", "at"),
)


@dataclass(frozen=True, slots=True)
class Invite:
    """One invitation as stored: everything but its code."""

    id: UUID
    tenant_id: UUID
    note: str | None
    role: str
    scopes: tuple[str, ...]
    uses: int
    max_uses: int
    expires_at: datetime
    revoked_at: datetime | None
    created_at: datetime
    created_by: str


_SHOWN = tuple(column for column in invites.c if column.name != "digest")


def _invite(row: Any) -> Invite:
    members = dict(row._mapping)  # noqa: SLF001 - the public name of a row's columns
    members["id"] = members.pop("invite_id")
    members["scopes"] = tuple(members["scopes"])
    return Invite(**members)


async def add_invite(tx: Tx, invite: Invite, digest: bytes) -> None:
    """Insert an invitation with the digest that stands for its code."""
    values = {name: getattr(invite, name) for name in Invite.__slots__ if name != "id"}
    values |= {"invite_id": invite.id, "scopes": list(invite.scopes), "digest": digest}
    await tx.execute(insert(invites).values(values))


async def get_invite(tx: Tx, tenant_id: UUID, invite_id: UUID) -> Invite | None:
    """Return one invitation of a tenant."""
    query = select(*_SHOWN).where(invites.c.tenant_id == tenant_id, invites.c.invite_id == invite_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _invite(row)


async def list_invites(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[Invite]:
    """Return invitations of a tenant, newest first."""
    query = select(*_SHOWN).where(invites.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(func.row(invites.c.created_at, invites.c.invite_id) < func.row(*after))
    query = query.order_by(invites.c.created_at.desc(), invites.c.invite_id.desc()).limit(limit)
    return [_invite(row) for row in await tx.execute(query)]


async def revoke_invite(tx: Tx, tenant_id: UUID, invite_id: UUID, now: datetime) -> bool:
    """End an invitation; False when there is none that was not ended before."""
    done = await tx.execute(
        update(invites)
        .where(
            invites.c.tenant_id == tenant_id,
            invites.c.invite_id == invite_id,
            invites.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return done.rowcount == 1


async def use_invite(tx: Tx, digest: bytes, now: datetime) -> Invite | None:
    """Take one use of the invitation with this digest; None when there is none left, or none at all."""
    done = await tx.execute(
        update(invites)
        .where(
            invites.c.digest == digest,
            invites.c.revoked_at.is_(None),
            invites.c.expires_at > now,
            invites.c.uses < invites.c.max_uses,
        )
        .values(uses=invites.c.uses + 1)
        .returning(*_SHOWN)
    )
    row = done.one_or_none()
    return None if row is None else _invite(row)


async def count_registrations(tx: Tx, address: str, since: datetime) -> tuple[int, datetime | None]:
    """Return how often an address has registered since then, and when first; others of it wait meanwhile."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('registration ' || $1, 0))", address)
    row = await tx.fetch_row(
        "SELECT count(*) AS n, min(at) AS first FROM registrations WHERE address = $1 AND at > $2",
        address,
        since,
    )
    return (0, None) if row is None else (row["n"], row["first"])


async def add_registration(tx: Tx, address: str, now: datetime) -> None:
    """Note that an address has registered."""
    await tx.execute(insert(registrations).values(registration_id=new_id(), address=address, at=now))


async def prune(tx: Tx, before: datetime) -> None:
    """Forget registrations from before an instant."""
    await tx.run("DELETE FROM registrations WHERE at < $1", before)
