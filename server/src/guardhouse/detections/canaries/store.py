"""Canaries: table and statements. Of a token only a keyed digest is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
)

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

canaries = Table(
    "canaries",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("canary_id", Uuid, nullable=False),
    Column("label", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", _INSTANT),
    PrimaryKeyConstraint("tenant_id", "canary_id"),
    UniqueConstraint("tenant_id", "digest"),
)


@dataclass(frozen=True, slots=True)
class Canary:
    """One canary as stored: everything but its token."""

    id: UUID
    label: str
    digest: bytes
    created_at: datetime
    created_by: str
    expires_at: datetime | None


_SHOWN = (
    canaries.c.canary_id,
    canaries.c.label,
    canaries.c.digest,
    canaries.c.created_at,
    canaries.c.created_by,
    canaries.c.expires_at,
)


def _canary(row: Any) -> Canary:
    return Canary(row.canary_id, row.label, row.digest, row.created_at, row.created_by, row.expires_at)


async def count_canaries(tx: Tx, tenant_id: UUID) -> int:
    """Return how many canaries a tenant has."""
    query = select(func.count()).select_from(canaries).where(canaries.c.tenant_id == tenant_id)
    found: int = (await tx.execute(query)).scalar_one()
    return found


async def add_canary(tx: Tx, tenant_id: UUID, canary: Canary) -> None:
    """Insert a canary."""
    values = {
        "tenant_id": tenant_id,
        "canary_id": canary.id,
        "label": canary.label,
        "digest": canary.digest,
        "created_at": canary.created_at,
        "created_by": canary.created_by,
        "expires_at": canary.expires_at,
    }
    await tx.execute(insert(canaries).values(values))


async def list_canaries(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[Canary]:
    """Return a tenant's canaries in order of making, expired ones too."""
    query = select(*_SHOWN).where(canaries.c.tenant_id == tenant_id)
    place = (canaries.c.created_at, canaries.c.canary_id)
    if after is not None:
        query = query.where(tuple_(*place) > after)
    return [_canary(row) for row in await tx.execute(query.order_by(*place).limit(limit))]


async def find_canaries(tx: Tx, tenant_id: UUID, digests: Sequence[bytes], now: datetime) -> list[Canary]:
    """Return the canaries among these digests that have not expired."""
    query = select(*_SHOWN).where(
        canaries.c.tenant_id == tenant_id,
        canaries.c.digest.in_(digests),
        or_(canaries.c.expires_at.is_(None), canaries.c.expires_at > now),
    )
    return [_canary(row) for row in await tx.execute(query)]


async def delete_canary(tx: Tx, tenant_id: UUID, canary_id: UUID) -> Canary | None:
    """Delete a canary; None when the tenant has none of this id."""
    row = (
        await tx.execute(
            delete(canaries)
            .where(canaries.c.tenant_id == tenant_id, canaries.c.canary_id == canary_id)
            .returning(*_SHOWN)
        )
    ).one_or_none()
    return None if row is None else _canary(row)
