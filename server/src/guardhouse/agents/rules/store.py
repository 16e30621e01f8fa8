"""Rules of apps, their revisions and documents: tables and statements.

A rule's row says from which revision it was good (``since``) and from which no more (``until``): the rule set of any
revision can be read again, and nothing of it ever changes. Positions in it are those of one project.
"""

import json
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
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.analysis.abuse.target import Target
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)
_KINDS: Final = (
    "'ban_net', 'release_net', 'allow_net', 'block_country', 'allow_countries', 'block_cloud', 'block_user_agent',"
    " 'block_pattern', 'limit_global', 'limit_endpoint', 'toggle', 'emergency'"
)


def _of_project() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.project_id"])


rule_revisions = Table(
    "rule_revisions",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("published_at", _INSTANT, nullable=False),
    Column("author", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("reason", Text),
    Column("restored", BigInteger),
    Column("baseline", JSONB, nullable=False),
    Column("targets", JSONB, nullable=False),
    Column("due_at", _INSTANT),
    Column("adopted_at", _INSTANT),
    PrimaryKeyConstraint("project_id", "revision"),
    _of_project(),
    CheckConstraint("cause IN ('change', 'restore', 'start', 'expiry', 'renewal', 'policy')", name="cause"),
    Index("rule_revisions_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

rules = Table(
    "rules",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("rule_id", Uuid, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger),
    Column("tenant_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", JSONB, nullable=False),
    Column("target", JSONB, nullable=False),
    Column("reason", Text),
    Column("source", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("starts_at", _INSTANT),
    Column("expires_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    PrimaryKeyConstraint("project_id", "rule_id", "since"),
    _of_project(),
    CheckConstraint(f"kind IN ({_KINDS})", name="kind"),
    CheckConstraint("source IN ('manual', 'auto', 'import')", name="source"),
    Index("rules_now_idx", "project_id", "rule_id", unique=True, postgresql_where=text("until IS NULL")),
    Index("rules_project_id_since_idx", "project_id", "since"),
    Index("rules_project_id_until_idx", "project_id", "until"),
)

rule_documents = Table(
    "rule_documents",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("target_hex", Text, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("targets", JSONB, nullable=False),
    Column("document", Text, nullable=False),
    Column("not_served", ARRAY(Text), nullable=False),
    PrimaryKeyConstraint("project_id", "revision", "target_hex"),
    ForeignKeyConstraint(
        ["project_id", "revision"], ["rule_revisions.project_id", "rule_revisions.revision"]
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose rules: a project and its tenant; every statement here names both."""

    tenant_id: UUID
    project_id: UUID


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule with where it comes from. ``since``: the revision in which it became what it is."""

    rule: AppRule
    reason: str | None
    source: str
    created_at: datetime
    created_by: str
    since: int = 0
    until: int | None = None

    @property
    def id(self) -> UUID:
        """The rule's id."""
        return self.rule.id


@dataclass(frozen=True, slots=True)
class Revision:
    """The outcome of a change for a project. ``due_at``: when time alone makes the next one; newest only.

    ``targets``: all that its rules are for, so that an agent's group is known without reading them.
    ``adopted_at``: when every process that polls had said that it applied it.
    """

    number: int
    published_at: datetime
    author: str
    cause: str
    reason: str | None
    restored: int | None
    baseline: Mapping[str, Any]
    targets: tuple[Target, ...]
    due_at: datetime | None
    adopted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """What one group of agents gets in one revision, as the bytes that are sent."""

    target_hex: str
    targets: tuple[Target, ...]
    text: str
    not_served: tuple[str, ...]


async def add_revision(tx: Tx, place: Place, made: Revision) -> None:
    """Insert a revision; the one before is not due any more."""
    await tx.run(
        "UPDATE rule_revisions SET due_at = NULL WHERE tenant_id = $1 AND project_id = $2 AND due_at IS NOT NULL",
        place.tenant_id,
        place.project_id,
    )
    await tx.run(
        "INSERT INTO rule_revisions (project_id, tenant_id, revision, published_at, author, cause, reason, restored,"
        " baseline, targets, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::jsonb, $11)",
        place.project_id,
        place.tenant_id,
        made.number,
        made.published_at,
        made.author,
        made.cause,
        made.reason,
        made.restored,
        _json(made.baseline),
        _json([target.conditions for target in made.targets]),
        made.due_at,
    )


async def end_rules(tx: Tx, place: Place, rule_ids: Sequence[UUID], number: int) -> None:
    """Let rules be good no more from a revision on."""
    await tx.run(
        "UPDATE rules SET until = $4 WHERE tenant_id = $1 AND project_id = $2 AND rule_id = ANY($3) AND until IS NULL",
        place.tenant_id,
        place.project_id,
        list(rule_ids),
        number,
    )


async def add_rules(tx: Tx, place: Place, added: Sequence[StoredRule]) -> None:
    """Insert rules, each good from its ``since`` on."""
    await tx.run_many(
        "INSERT INTO rules (project_id, tenant_id, rule_id, kind, value, target, priority, enabled, starts_at,"
        " expires_at, reason, source, created_at, created_by, since)"
        " VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        [
            (
                place.project_id,
                place.tenant_id,
                new.rule.id,
                new.rule.kind,
                _json(new.rule.value),
                _json(new.rule.target.conditions),
                new.rule.priority,
                new.rule.enabled,
                new.rule.starts_at,
                new.rule.expires_at,
                new.reason,
                new.source,
                new.created_at,
                new.created_by,
                new.since,
            )
            for new in added
        ],
    )


async def keep_document(tx: Tx, place: Place, number: int, document: Document) -> None:
    """Keep what a group of agents gets in a revision; whoever comes second has made the same."""
    await tx.run(
        "INSERT INTO rule_documents (project_id, tenant_id, revision, target_hex, targets, document, not_served)"
        " VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7) ON CONFLICT DO NOTHING",
        place.project_id,
        place.tenant_id,
        number,
        document.target_hex,
        _json([target.conditions for target in document.targets]),
        document.text,
        list(document.not_served),
    )


async def mark_adopted(tx: Tx, place: Place, number: int, now: datetime) -> None:
    """Note that every process that polls has applied a revision."""
    await tx.run(
        "UPDATE rule_revisions SET adopted_at = $4 WHERE tenant_id = $1 AND project_id = $2 AND revision = $3",
        place.tenant_id,
        place.project_id,
        number,
        now,
    )


async def prune_documents(tx: Tx, before: datetime) -> None:
    """Delete documents of revisions published before an instant, but those in force; they can be made again."""
    await tx.run(
        "DELETE FROM rule_documents d USING rule_revisions r WHERE r.project_id = d.project_id"
        " AND r.revision = d.revision AND r.tenant_id = d.tenant_id AND r.published_at < $1"
        " AND EXISTS (SELECT FROM rule_revisions n WHERE n.project_id = d.project_id AND n.revision > d.revision)",
        before,
    )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
