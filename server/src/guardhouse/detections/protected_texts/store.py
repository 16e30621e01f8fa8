"""Protected texts: table and statements. Of a text its label, its length and its keyed shingles are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    tuple_,
)

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

protected_texts = Table(
    "protected_texts",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("protected_text_id", Uuid, nullable=False),
    Column("label", Text, nullable=False),
    Column("shingles", LargeBinary, nullable=False),
    Column("shingle_count", Integer, nullable=False),
    Column("pepper", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "protected_text_id"),
)


@dataclass(frozen=True, slots=True)
class ProtectedText:
    """One protected text without its shingles, of which there are ``shingles``."""

    id: UUID
    label: str
    shingles: int
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Hashed:
    """The keyed shingles of a protected text, one after the other, and the pepper behind their key."""

    id: UUID
    pepper: str
    shingles: bytes


_SHOWN = (
    protected_texts.c.protected_text_id,
    protected_texts.c.label,
    protected_texts.c.shingle_count,
    protected_texts.c.created_at,
    protected_texts.c.created_by,
)


def _text(row: Any) -> ProtectedText:
    return ProtectedText(row.protected_text_id, row.label, row.shingle_count, row.created_at, row.created_by)


async def count_texts(tx: Tx, tenant_id: UUID) -> int:
    """Return how many protected texts a tenant has."""
    query = select(func.count()).select_from(protected_texts).where(protected_texts.c.tenant_id == tenant_id)
    found: int = (await tx.execute(query)).scalar_one()
    return found


async def add_text(tx: Tx, tenant_id: UUID, text: ProtectedText, hashed: Hashed) -> None:
    """Insert a protected text."""
    values = {
        "tenant_id": tenant_id,
        "protected_text_id": text.id,
        "label": text.label,
        "shingles": hashed.shingles,
        "shingle_count": text.shingles,
        "pepper": hashed.pepper,
        "created_at": text.created_at,
        "created_by": text.created_by,
    }
    await tx.execute(insert(protected_texts).values(values))


async def list_texts(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[ProtectedText]:
    """Return a tenant's protected texts in order of making."""
    query = select(*_SHOWN).where(protected_texts.c.tenant_id == tenant_id)
    place = (protected_texts.c.created_at, protected_texts.c.protected_text_id)
    if after is not None:
        query = query.where(tuple_(*place) > after)
    return [_text(row) for row in await tx.execute(query.order_by(*place).limit(limit))]


async def read_hashed(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> list[Hashed]:
    """Return the shingles of the texts among these ids."""
    columns = (
        protected_texts.c.protected_text_id,
        protected_texts.c.pepper,
        protected_texts.c.shingles,
    )
    query = select(*columns).where(
        protected_texts.c.tenant_id == tenant_id, protected_texts.c.protected_text_id.in_(ids)
    )
    return [Hashed(row.protected_text_id, row.pepper, row.shingles) for row in await tx.execute(query)]


async def delete_text(tx: Tx, tenant_id: UUID, text_id: UUID) -> ProtectedText | None:
    """Delete a protected text; None when the tenant has none of this id."""
    row = (
        await tx.execute(
            delete(protected_texts)
            .where(protected_texts.c.tenant_id == tenant_id, protected_texts.c.protected_text_id == text_id)
            .returning(*_SHOWN)
        )
    ).one_or_none()
    return None if row is None else _text(row)
