"""Policies and their versions: tables and statements. A version never changes once written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.detections.changed import tell_change
from guardhouse.detections.policy import Policy
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

policies = Table(
    "policies",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("policy_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "policy_id"),
    UniqueConstraint("tenant_id", "name"),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("policy_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "policy_id", "version"),
    ForeignKeyConstraint(["tenant_id", "policy_id"], ["policies.tenant_id", "policies.policy_id"]),
)

_SHOWN: Final = "v.body::text AS body, p.created_at, p.created_by, v.made_at, v.made_by"
_FROM: Final = "FROM policies p JOIN policy_versions v USING (tenant_id, policy_id)"
_NEWEST: Final = f"SELECT {_SHOWN} {_FROM} WHERE p.tenant_id = $1 AND v.version = p.version"


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A version of a policy; ``created`` is of the policy, ``made`` of this version."""

    policy: Policy
    created_at: datetime
    created_by: str
    made_at: datetime
    made_by: str


async def add_policy(tx: Tx, tenant_id: UUID, made: StoredPolicy) -> bool:
    """Insert a policy with its first version; False when the tenant has one of this name."""
    policy = made.policy
    added = await tx.run(
        "INSERT INTO policies (tenant_id, policy_id, name, version, created_at, created_by)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, name) DO NOTHING",
        tenant_id,
        policy.id,
        policy.name,
        policy.version,
        made.created_at,
        made.created_by,
    )
    if added.endswith(" 0"):
        return False
    await _add_version(tx, tenant_id, made)
    return True


async def add_version(tx: Tx, tenant_id: UUID, made: StoredPolicy) -> bool:
    """Put the next version of a policy, which the caller holds locked, in force; False when its name is taken."""
    policy = made.policy
    changed = await tx.run(
        "UPDATE policies SET name = $3, version = $4 WHERE tenant_id = $1 AND policy_id = $2 AND NOT EXISTS"
        " (SELECT FROM policies o WHERE o.tenant_id = $1 AND o.name = $3 AND o.policy_id <> $2)",
        tenant_id,
        policy.id,
        policy.name,
        policy.version,
    )
    if changed.endswith(" 0"):
        return False
    await _add_version(tx, tenant_id, made)
    return True


async def _add_version(tx: Tx, tenant_id: UUID, made: StoredPolicy) -> None:
    await tx.run(
        "INSERT INTO policy_versions (tenant_id, policy_id, version, body, made_at, made_by)"
        " VALUES ($1, $2, $3, $4::text::jsonb, $5, $6)",
        tenant_id,
        made.policy.id,
        made.policy.version,
        msgspec.json.encode(made.policy).decode(),
        made.made_at,
        made.made_by,
    )
    await tell_change(tx)


async def hold_policies(tx: Tx, tenant_id: UUID) -> None:
    """Let nobody else make or name a policy of the tenant until the end of this transaction."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"policies/{tenant_id}")


async def get_policy(tx: Tx, tenant_id: UUID, policy_id: UUID, *, lock: bool = False) -> StoredPolicy | None:
    """Return the newest version of a policy; with ``lock`` nobody else changes it until the end."""
    row = await tx.fetch_row(
        f"{_NEWEST} AND p.policy_id = $2" + (" FOR UPDATE OF p" if lock else ""), tenant_id, policy_id
    )
    return None if row is None else _stored(row)


async def has_policy(tx: Tx, tenant_id: UUID, name: str) -> bool:
    """Tell whether the tenant has a policy of this name."""
    return bool(
        await tx.fetch_value(
            "SELECT EXISTS (SELECT FROM policies WHERE tenant_id = $1 AND name = $2)", tenant_id, name
        )
    )


async def list_policies(
    tx: Tx, tenant_id: UUID, limit: int | None = None, after: UUID | None = None
) -> list[StoredPolicy]:
    """Return the newest versions of a tenant's policies in order of making."""
    rows = await tx.fetch(
        f"{_NEWEST} AND ($2::uuid IS NULL OR p.policy_id > $2) ORDER BY p.policy_id LIMIT $3",
        tenant_id,
        after,
        limit,
    )
    return [_stored(row) for row in rows]


async def list_versions(
    tx: Tx, tenant_id: UUID, policy_id: UUID, limit: int, before: int | None = None
) -> Sequence[StoredPolicy]:
    """Return the versions of a policy, the newest first."""
    rows = await tx.fetch(
        f"SELECT {_SHOWN} {_FROM} WHERE p.tenant_id = $1 AND p.policy_id = $2"
        " AND ($3::int IS NULL OR v.version < $3) ORDER BY v.version DESC LIMIT $4",
        tenant_id,
        policy_id,
        before,
        limit,
    )
    return [_stored(row) for row in rows]


async def shortest_retention(tx: Tx, tenant_id: UUID, usual: int) -> int:
    """Return the fewest days that a version of a tenant's policies keeps records; ``usual`` at most."""
    found: int = await tx.fetch_value(
        "SELECT least($2::int, min((body ->> 'retention_days')::int)) FROM policy_versions WHERE tenant_id = $1",
        tenant_id,
        usual,
    )
    return found


def _stored(row: Any) -> StoredPolicy:
    body, *rest = tuple(row)
    return StoredPolicy(msgspec.json.decode(body, type=Policy), *rest)
