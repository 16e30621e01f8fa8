"""Tickets that open a stream once, for browsers that cannot set headers: stored as digests, shared by processes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    delete,
    insert,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.foundation.database import TenantKey, Tx, metadata

stream_tickets = Table(
    "stream_tickets",
    metadata,
    Column("ticket_hash", LargeBinary, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("tenant_no", BigInteger, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("project_id", Uuid),
    Column("credential_id", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("stream_tickets_expires_at_idx", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who listens: what of a caller a stream needs, and what a ticket carries."""

    tenant: TenantKey
    scopes: frozenset[str]
    project_id: UUID | None
    credential_id: str


async def add_ticket(tx: Tx, ticket_hash: bytes, visitor: Visitor, expires_at: datetime) -> None:
    """Store a ticket."""
    await tx.execute(
        insert(stream_tickets).values(
            ticket_hash=ticket_hash,
            tenant_id=visitor.tenant.id,
            tenant_no=visitor.tenant.no,
            scopes=_sorted(visitor.scopes),
            project_id=visitor.project_id,
            credential_id=visitor.credential_id,
            expires_at=expires_at,
        )
    )


async def take_ticket(tx: Tx, ticket_hash: bytes, now: datetime) -> Visitor | None:
    """Use up a ticket and return whose it is, or None when there is none that is still good."""
    found = await tx.execute(
        delete(stream_tickets).where(stream_tickets.c.ticket_hash == ticket_hash).returning(stream_tickets)
    )
    row = found.one_or_none()
    if row is None or row.expires_at <= now:
        return None
    return Visitor(
        TenantKey(row.tenant_id, row.tenant_no), frozenset(row.scopes), row.project_id, row.credential_id
    )


async def prune_tickets(tx: Tx, now: datetime) -> None:
    """Delete the tickets that nobody used in time."""
    await tx.execute(delete(stream_tickets).where(stream_tickets.c.expires_at <= now))


def _sorted(scopes: Iterable[str]) -> list[str]:
    return sorted(scopes)
