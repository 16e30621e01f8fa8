"""Rules of tenants, the sets they were in force in, their hits by day, and shadows: tables and statements.

A version of a rule and a version of a set never change once written: what was judged by them can be judged again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)
RULES_TAKEN: Final = "rules"  # the kind of input that says which rules an agent used from a position on

risk_rules = Table(
    "risk_rules",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("source", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_no", "rule_id", "version"),
)

risk_rule_sets = Table(
    "risk_rule_sets",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    PrimaryKeyConstraint("tenant_no", "version"),
)

risk_shipped_rules = Table(
    "risk_shipped_rules",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_no", "version"),
)

risk_rule_hits = Table(
    "risk_rule_hits",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("hits", BigInteger, nullable=False),
    Column("added", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent_no", "rule_id", "day"),
    Index("risk_rule_hits_tenant_no_day_idx", "tenant_no", "day"),
)

risk_rule_shadows = Table(
    "risk_rule_shadows",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("tenant_no", BigInteger, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("began_at", _INSTANT, nullable=False),
    Column("ends_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "rule_id"),
)


class OwnEntry(msgspec.Struct, frozen=True):
    """A rule of the tenant in a set: which version of it, and whether it counts."""

    version: int
    state: str


class OverrideEntry(msgspec.Struct, frozen=True, rename={"excepts": "except"}):
    """What a set changes of one of the product's rules."""

    enabled: bool = True
    weight: float | None = None
    excepts: list[dict[str, Any]] = []


class Content(msgspec.Struct, frozen=True):
    """What a version of a tenant's set says beyond the product's rules, each part by rule id."""

    own: dict[str, OwnEntry] = {}
    overrides: dict[str, OverrideEntry] = {}


@dataclass(frozen=True, slots=True)
class StoredSet:
    """A version of a tenant's rule set; version 0 is the product's rules as they ship."""

    version: int = 0
    content: Content = field(default_factory=Content)


@dataclass(frozen=True, slots=True)
class Hits:
    """How often a rule hit within some days, and how often that was added to a risk."""

    hits: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class Shadow:
    """Since when a rule is only counted, and until when."""

    tenant: TenantKey
    rule_id: str
    began_at: datetime
    ends_at: datetime


_SHADOWS: Final = "SELECT tenant_id, tenant_no, rule_id, began_at, ends_at FROM risk_rule_shadows"


async def hold(tx: Tx, tenant_no: int) -> None:
    """Let nobody else change the tenant's rules until the end of this transaction."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"risk_rules/{tenant_no}")


async def get_set(tx: Tx, tenant_no: int, version: int | None = None) -> StoredSet:
    """Return a version of the tenant's set, the newest for None; version 0 where there is none."""
    row = await tx.fetch_row(
        "SELECT version, content::text AS content FROM risk_rule_sets WHERE tenant_no = $1 AND version = coalesce($2,"
        " (SELECT max(version) FROM risk_rule_sets WHERE tenant_no = $1))",
        tenant_no,
        version,
    )
    if row is None:
        return StoredSet()
    return StoredSet(row["version"], msgspec.json.decode(row["content"], type=Content))


async def add_set(tx: Tx, tenant_no: int, added: StoredSet, now: datetime, by: str) -> None:
    """Insert a version of the tenant's set; it is in force from the next event that is scored."""
    await tx.run(
        "INSERT INTO risk_rule_sets (tenant_no, version, content, made_at, made_by)"
        " VALUES ($1, $2, $3::text::jsonb, $4, $5)",
        tenant_no,
        added.version,
        msgspec.json.encode(added.content).decode(),
        now,
        by,
    )


async def get_sources(tx: Tx, tenant_no: int, versions: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return some rules of the tenant as they were written, each in one version."""
    rows = await tx.fetch(
        "SELECT r.rule_id, r.source::text AS source FROM risk_rules r"
        " JOIN unnest($2::text[], $3::int[]) AS w (rule_id, version) ON r.rule_id = w.rule_id"
        " AND r.version = w.version WHERE r.tenant_no = $1",
        tenant_no,
        list(versions),
        list(versions.values()),
    )
    return {row["rule_id"]: msgspec.json.decode(row["source"]) for row in rows}


async def newest_version(tx: Tx, tenant_no: int, rule_id: str) -> int:
    """Return the newest version of a rule of the tenant that was ever written, 0 for none."""
    return int(
        await tx.fetch_value(
            "SELECT coalesce(max(version), 0) FROM risk_rules WHERE tenant_no = $1 AND rule_id = $2",
            tenant_no,
            rule_id,
        )
    )


async def add_rule(
    tx: Tx, tenant_no: int, version: int, source: Mapping[str, Any], now: datetime, by: str
) -> None:
    """Insert a version of a rule; its id is in the source."""
    await tx.run(
        "INSERT INTO risk_rules (tenant_no, rule_id, version, source, made_at, made_by)"
        " VALUES ($1, $2, $3, $4::text::jsonb, $5, $6)",
        tenant_no,
        source["id"],
        version,
        msgspec.json.encode(source).decode(),
        now,
        by,
    )


async def keep_shipped(tx: Tx, tenant_no: int, version: str, packed: bytes) -> None:
    """Keep the product's rules of one version for as long as the tenant's scores may be judged again by them."""
    await tx.run(
        "INSERT INTO risk_shipped_rules (tenant_no, version, packed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        tenant_no,
        version,
        packed,
    )


async def get_shipped(tx: Tx, tenant_no: int, version: str) -> bytes | None:
    """Return the product's rules of one version; None when the tenant was never scored by them."""
    found: bytes | None = await tx.fetch_value(
        "SELECT packed FROM risk_shipped_rules WHERE tenant_no = $1 AND version = $2", tenant_no, version
    )
    return found


async def add_hits(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Count hits: rows of (tenant_no, agent_no, rule_id, day, hits, added)."""
    await tx.run_many(
        "INSERT INTO risk_rule_hits AS h (tenant_no, agent_no, rule_id, day, hits, added)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (agent_no, rule_id, day)"
        " DO UPDATE SET hits = h.hits + excluded.hits, added = h.added + excluded.added",
        rows,
    )


async def sum_hits(tx: Tx, tenant_no: int, since: date, rule_id: str | None = None) -> dict[str, Hits]:
    """Return the hits of every rule, or of one, from a day on."""
    rows = await tx.fetch(
        "SELECT rule_id, sum(hits)::bigint AS hits, sum(added)::bigint AS added FROM risk_rule_hits"
        " WHERE tenant_no = $1 AND day >= $2 AND ($3::text IS NULL OR rule_id = $3) GROUP BY rule_id",
        tenant_no,
        since,
        rule_id,
    )
    return {row["rule_id"]: Hits(row["hits"], row["added"]) for row in rows}


async def prune_hits(tx: Tx, before: date) -> None:
    """Forget the hits of all tenants before a day."""
    await tx.run("DELETE FROM risk_rule_hits WHERE day < $1", before)


async def set_shadow(tx: Tx, shadow: Shadow) -> None:
    """Note when a rule's shadow ends; a rule has one at most."""
    await tx.run(
        "INSERT INTO risk_rule_shadows (tenant_no, rule_id, tenant_id, began_at, ends_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (tenant_id, rule_id) DO UPDATE SET began_at = excluded.began_at, ends_at = excluded.ends_at",
        shadow.tenant.no,
        shadow.rule_id,
        shadow.tenant.id,
        shadow.began_at,
        shadow.ends_at,
    )


async def drop_shadow(tx: Tx, tenant: TenantKey, rule_id: str) -> None:
    """Forget when a rule's shadow ends."""
    await tx.run("DELETE FROM risk_rule_shadows WHERE tenant_id = $1 AND rule_id = $2", tenant.id, rule_id)


async def list_shadows(tx: Tx, tenant: TenantKey) -> dict[str, Shadow]:
    """Return the shadows of a tenant's rules by rule id."""
    rows = await tx.fetch(f"{_SHADOWS} WHERE tenant_id = $1", tenant.id)
    return {row["rule_id"]: _shadow(row) for row in rows}


async def list_ended(tx: Tx, now: datetime, limit: int) -> list[Shadow]:
    """Return shadows of all tenants that are over, the oldest first."""
    rows = await tx.fetch(
        f"{_SHADOWS} WHERE ends_at <= $1 ORDER BY ends_at, tenant_no, rule_id LIMIT $2", now, limit
    )
    return [_shadow(row) for row in rows]


def _shadow(row: Any) -> Shadow:
    return Shadow(
        TenantKey(row["tenant_id"], row["tenant_no"]), row["rule_id"], row["began_at"], row["ends_at"]
    )
