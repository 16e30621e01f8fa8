"""Lists of tenants: table and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.detections.changed import tell_change
from guardhouse.detections.lists.entry import Entry
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

detection_lists = Table(
    "detection_lists",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("list_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("entries", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "list_id"),
    UniqueConstraint("tenant_id", "name"),
    CheckConstraint("kind IN ('allow', 'deny')", name="kind"),
)
_SHOWN: Final = "list_id, name, kind, version, entries::text AS entries, created_at, created_by, changed_at"


@dataclass(frozen=True, slots=True)
class StoredList:
    """A list as it stands."""

    id: UUID
    name: str
    kind: str
    version: int
    entries: tuple[Entry, ...]
    created_at: datetime
    created_by: str
    changed_at: datetime


async def add_list(tx: Tx, tenant_id: UUID, made: StoredList) -> bool:
    """Insert a list; False when its name is taken."""
    done = await tx.run(
        "INSERT INTO detection_lists (tenant_id, list_id, name, kind, version, entries, created_at, created_by,"
        " changed_at) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)"
        " ON CONFLICT (tenant_id, name) DO NOTHING",
        tenant_id,
        made.id,
        made.name,
        made.kind,
        made.version,
        msgspec.json.encode(made.entries).decode(),
        made.created_at,
        made.created_by,
        made.changed_at,
    )
    return done.endswith(" 1")


async def change_list(tx: Tx, tenant_id: UUID, changed: StoredList) -> bool:
    """Write a list anew, which the caller holds locked; False when its name is another's."""
    done = await tx.run(
        "UPDATE detection_lists SET name = $3, version = $4, entries = $5::text::jsonb, changed_at = $6"
        " WHERE tenant_id = $1 AND list_id = $2 AND NOT EXISTS (SELECT FROM detection_lists o"
        " WHERE o.tenant_id = $1 AND o.name = $3 AND o.list_id <> $2)",
        tenant_id,
        changed.id,
        changed.name,
        changed.version,
        msgspec.json.encode(changed.entries).decode(),
        changed.changed_at,
    )
    await tell_change(tx)
    return done.endswith(" 1")


async def delete_list(tx: Tx, tenant_id: UUID, list_id: UUID) -> None:
    """Take a list out."""
    await tx.run("DELETE FROM detection_lists WHERE tenant_id = $1 AND list_id = $2", tenant_id, list_id)


async def used_by(tx: Tx, tenant_id: UUID, list_id: UUID) -> list[str]:
    """Return the names of policies that a list is in force by; their names do not change until the end."""
    rows = await tx.fetch(
        "SELECT p.name FROM policies p JOIN policy_versions v USING (tenant_id, policy_id)"
        " WHERE p.tenant_id = $1 AND v.version = p.version AND v.body->'lists' ? $2 ORDER BY p.name",
        tenant_id,
        str(list_id),
    )
    return [row["name"] for row in rows]


async def get_list(tx: Tx, tenant_id: UUID, list_id: UUID, *, lock: bool = False) -> StoredList | None:
    """Return one list; with ``lock`` nobody else changes it until the end."""
    row = await tx.fetch_row(
        f"SELECT {_SHOWN} FROM detection_lists WHERE tenant_id = $1 AND list_id = $2"
        + (" FOR UPDATE" if lock else ""),
        tenant_id,
        list_id,
    )
    return None if row is None else _stored(row)


async def list_lists(
    tx: Tx, tenant_id: UUID, limit: int | None = None, after: UUID | None = None
) -> Sequence[StoredList]:
    """Return a tenant's lists in order of making."""
    rows = await tx.fetch(
        f"SELECT {_SHOWN} FROM detection_lists WHERE tenant_id = $1 AND ($2::uuid IS NULL OR list_id > $2)"
        " ORDER BY list_id LIMIT $3",
        tenant_id,
        after,
        limit,
    )
    return [_stored(row) for row in rows]


async def known_ids(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these lists there are; none of them goes away until the end."""
    rows = await tx.fetch(
        "SELECT list_id FROM detection_lists WHERE tenant_id = $1 AND list_id = ANY($2) FOR SHARE",
        tenant_id,
        list(ids),
    )
    return {row["list_id"] for row in rows}


def _stored(row: Any) -> StoredList:
    list_id, name, kind, version, entries, *rest = tuple(row)
    return StoredList(
        list_id, name, kind, version, msgspec.json.decode(entries, type=tuple[Entry, ...]), *rest
    )
