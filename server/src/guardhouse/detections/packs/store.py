"""Rule packs of tenants: table and statements. A version never changes once written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

rule_packs = Table(
    "rule_packs",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("rules", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name", "version"),
)
_SHOWN: Final = "name, version, rules::text AS rules, made_at, made_by"


@dataclass(frozen=True, slots=True)
class StoredPack:
    """One version of a pack; ``rules`` are as they were sent."""

    name: str
    version: int
    rules: list[dict[str, Any]]
    made_at: datetime
    made_by: str

    @property
    def full_name(self) -> str:
        """What policies call it: ``acme@4``."""
        return f"{self.name}@{self.version}"


async def hold(tx: Tx, tenant_id: UUID) -> None:
    """Let nobody else add or take out packs of the tenant until the end of this transaction."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"rule_packs/{tenant_id}")


async def add_pack(tx: Tx, tenant_id: UUID, made: StoredPack) -> None:
    """Insert a version."""
    await tx.run(
        "INSERT INTO rule_packs (tenant_id, name, version, rules, made_at, made_by)"
        " VALUES ($1, $2, $3, $4::text::jsonb, $5, $6)",
        tenant_id,
        made.name,
        made.version,
        msgspec.json.encode(made.rules).decode(),
        made.made_at,
        made.made_by,
    )


async def delete_pack(tx: Tx, tenant_id: UUID, name: str) -> None:
    """Take every version of a pack out."""
    await tx.run("DELETE FROM rule_packs WHERE tenant_id = $1 AND name = $2", tenant_id, name)


async def used_by(tx: Tx, tenant_id: UUID, name: str) -> list[str]:
    """Return the names of policies that a version of a pack is in force by."""
    rows = await tx.fetch(
        "SELECT p.name FROM policies p JOIN policy_versions v USING (tenant_id, policy_id)"
        " WHERE p.tenant_id = $1 AND v.version = p.version AND EXISTS (SELECT FROM"
        " jsonb_array_elements_text(v.body->'rule_packs') AS r (pack) WHERE split_part(pack, '@', 1) = $2)"
        " ORDER BY p.name",
        tenant_id,
        name,
    )
    return [row["name"] for row in rows]


async def list_packs(
    tx: Tx, tenant_id: UUID, limit: int | None = None, after: str | None = None
) -> Sequence[StoredPack]:
    """Return the newest versions of a tenant's packs by name."""
    rows = await tx.fetch(
        f"SELECT DISTINCT ON (name) {_SHOWN} FROM rule_packs WHERE tenant_id = $1"
        " AND ($2::text IS NULL OR name > $2) ORDER BY name, version DESC LIMIT $3",
        tenant_id,
        after,
        limit,
    )
    return [_stored(row) for row in rows]


async def list_versions(
    tx: Tx, tenant_id: UUID, name: str, limit: int, before: int | None = None
) -> Sequence[StoredPack]:
    """Return the versions of a pack, the newest first."""
    rows = await tx.fetch(
        f"SELECT {_SHOWN} FROM rule_packs WHERE tenant_id = $1 AND name = $2"
        " AND ($3::int IS NULL OR version < $3) ORDER BY version DESC LIMIT $4",
        tenant_id,
        name,
        before,
        limit,
    )
    return [_stored(row) for row in rows]


async def get_packs(tx: Tx, tenant_id: UUID, full_names: Sequence[str]) -> dict[str, StoredPack]:
    """Return versions of packs by what policies call them; none of them goes away until the end."""
    rows = await tx.fetch(
        f"SELECT {_SHOWN} FROM rule_packs WHERE tenant_id = $1 AND name || '@' || version = ANY($2) FOR SHARE",
        tenant_id,
        list(full_names),
    )
    found = [_stored(row) for row in rows]
    return {pack.full_name: pack for pack in found}


def _stored(row: Any) -> StoredPack:
    name, version, rules, *rest = tuple(row)
    return StoredPack(name, version, msgspec.json.decode(rules), *rest)
