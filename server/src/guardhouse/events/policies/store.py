"""Policies of projects and what they did: tables and statements."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.analysis.abuse.target import Target
from guardhouse.events.policies.policy import ACTED, Action, Cause, Effect, Policy, State
from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)

rule_policies = Table(
    "rule_policies",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("project_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("cause", JSONB, nullable=False),
    Column("effect", JSONB, nullable=False),
    Column("mode", Text, nullable=False),
    Column("max_per_hour", Integer, nullable=False),
    Column("never", ARRAY(Text), nullable=False),
    Column("target", JSONB, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("paused_at", _INSTANT),
    Column("paused_by", Text),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    CheckConstraint("mode IN ('observe', 'suggest', 'enforce')", name="mode"),
    CheckConstraint("(paused_at IS NULL) = (paused_by IS NULL)", name="paused"),
    ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.project_id"]),
    Index("rule_policies_project_id_policy_id_idx", "tenant_id", "project_id", "policy_id"),
)

rule_actions = Table(
    "rule_actions",
    metadata,
    Column("action_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("project_id", Uuid, nullable=False),
    Column("policy_id", Uuid, nullable=False),
    Column("address", Text, nullable=False),
    Column("net", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refused_for", Text),
    Column("step", Integer, nullable=False),
    Column("for_seconds", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("rule_id", Uuid),
    Column("at", _INSTANT, nullable=False),
    Column("until", _INSTANT, nullable=False),
    Column("decided_by", Text),
    Column("decided_at", _INSTANT),
    CheckConstraint(
        "state IN ('observed', 'proposed', 'accepted', 'dismissed', 'enforced', 'refused')", name="state"
    ),
    CheckConstraint("(state = 'refused') = (refused_for IS NOT NULL)", name="refused"),
    ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.project_id"]),
    Index("rule_actions_project_id_action_id_idx", "tenant_id", "project_id", "action_id"),
    Index("rule_actions_policy_id_net_idx", "tenant_id", "policy_id", "net", "at"),
    Index("rule_actions_policy_id_at_idx", "tenant_id", "policy_id", "at"),
)

_POLICY: Final = (
    "policy_id, project_id, name, cause, effect, mode, max_per_hour, never, target, enabled, paused_at, paused_by,"
    " version, created_at, created_by"
)
_ACTION: Final = (
    "action_id, project_id, policy_id, address, net, state, refused_for, step, for_seconds, reason, evidence, rule_id,"
    " at, until, decided_by, decided_at"
)


@dataclass(frozen=True, slots=True)
class Past:
    """What a policy did last about a network: how far up its ladder, and until when."""

    step: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Unjudged:
    """An address that did something since policies saw it last. ``folds`` tells whether it did more meanwhile."""

    tenant: TenantKey
    project_id: UUID
    project_no: int
    address: str
    score: int
    folds: int


async def put_policy(tx: Tx, tenant_id: UUID, policy: Policy) -> None:
    """Insert a policy or write it anew."""
    await tx.run(
        f"INSERT INTO rule_policies (tenant_id, {_POLICY}) VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb,"
        " $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14, $15, $16) ON CONFLICT (policy_id) DO UPDATE SET"
        " name = excluded.name, cause = excluded.cause, effect = excluded.effect, mode = excluded.mode,"
        " max_per_hour = excluded.max_per_hour, never = excluded.never, target = excluded.target,"
        " enabled = excluded.enabled, paused_at = excluded.paused_at, paused_by = excluded.paused_by,"
        " version = excluded.version",
        tenant_id,
        policy.id,
        policy.project_id,
        policy.name,
        msgspec.json.encode(policy.cause).decode(),
        msgspec.json.encode(policy.effect).decode(),
        policy.mode,
        policy.max_per_hour,
        list(policy.never),
        json.dumps(policy.target.conditions),
        policy.enabled,
        policy.paused_at,
        policy.paused_by,
        policy.version,
        policy.created_at,
        policy.created_by,
    )


async def delete_policy(tx: Tx, tenant_id: UUID, policy_id: UUID) -> None:
    """Take a policy out; what it did stays."""
    await tx.run("DELETE FROM rule_policies WHERE tenant_id = $1 AND policy_id = $2", tenant_id, policy_id)


async def get_policy(
    tx: Tx, tenant_id: UUID, project_id: UUID, policy_id: UUID, *, lock: bool = False
) -> Policy | None:
    """Return one policy of a project; ``lock`` keeps it as it is until commit."""
    row = await tx.fetch_row(
        f"SELECT {_POLICY} FROM rule_policies WHERE tenant_id = $1 AND project_id = $2 AND policy_id = $3"
        + (" FOR UPDATE" if lock else ""),
        tenant_id,
        project_id,
        policy_id,
    )
    return None if row is None else _policy(row)


async def list_policies(
    tx: Tx, tenant_id: UUID, project_id: UUID, limit: int, after: UUID | None = None
) -> list[Policy]:
    """Return the policies of a project in order of making."""
    rows = await tx.fetch(
        f"SELECT {_POLICY} FROM rule_policies WHERE tenant_id = $1 AND project_id = $2"
        " AND ($3::uuid IS NULL OR policy_id > $3) ORDER BY policy_id LIMIT $4",
        tenant_id,
        project_id,
        after,
        limit,
    )
    return [_policy(row) for row in rows]


async def list_wanted(tx: Tx, project_ids: Collection[UUID]) -> list[tuple[TenantKey, Policy]]:
    """Return the policies of projects of any tenant that act on notices, as they are in force."""
    rows = await tx.fetch(
        f"SELECT {', '.join(f'r.{name}' for name in _POLICY.split(', '))}, t.tenant_id, t.tenant_no"
        " FROM rule_policies r JOIN tenants t USING (tenant_id)"
        " WHERE r.project_id = ANY($1) AND r.enabled AND r.paused_at IS NULL AND r.cause->>'source' = 'finding'",
        list(project_ids),
    )
    return [(TenantKey(row["tenant_id"], row["tenant_no"]), _policy(tuple(row)[:-2])) for row in rows]


async def add_actions(tx: Tx, tenant_id: UUID, actions: Sequence[Action]) -> None:
    """Insert what a policy did."""
    await tx.run_many(
        f"INSERT INTO rule_actions (tenant_id, {_ACTION}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " $12::text::jsonb, $13, $14, $15, $16, $17)",
        [
            (
                tenant_id,
                each.id,
                each.project_id,
                each.policy_id,
                each.address,
                each.net,
                each.state,
                each.refused_for,
                each.step,
                each.for_seconds,
                each.reason,
                json.dumps(each.evidence),
                each.rule_id,
                each.at,
                each.until,
                each.decided_by,
                each.decided_at,
            )
            for each in actions
        ],
    )


async def decide(tx: Tx, tenant_id: UUID, action: Action) -> None:
    """Note what somebody decided of a proposal."""
    await tx.run(
        "UPDATE rule_actions SET state = $3, rule_id = $4, until = $5, decided_by = $6, decided_at = $7"
        " WHERE tenant_id = $1 AND action_id = $2",
        tenant_id,
        action.id,
        action.state,
        action.rule_id,
        action.until,
        action.decided_by,
        action.decided_at,
    )


async def get_action(tx: Tx, tenant_id: UUID, project_id: UUID, action_id: UUID) -> Action | None:
    """Return one action of a project."""
    row = await tx.fetch_row(
        f"SELECT {_ACTION} FROM rule_actions WHERE tenant_id = $1 AND project_id = $2 AND action_id = $3",
        tenant_id,
        project_id,
        action_id,
    )
    return None if row is None else _action(row)


async def list_actions(
    tx: Tx,
    owner: tuple[UUID, UUID],
    policy_id: UUID | None,
    state: State | None,
    limit: int,
    before: UUID | None,
) -> list[Action]:
    """Return actions of a project, the newest first. ``owner``: tenant and project."""
    rows = await tx.fetch(
        f"SELECT {_ACTION} FROM rule_actions WHERE tenant_id = $1 AND project_id = $2"
        " AND ($3::uuid IS NULL OR policy_id = $3) AND ($4::text IS NULL OR state = $4)"
        " AND ($5::uuid IS NULL OR action_id < $5) ORDER BY action_id DESC LIMIT $6",
        *owner,
        policy_id,
        state,
        before,
        limit,
    )
    return [_action(row) for row in rows]


async def list_open(tx: Tx, tenant_id: UUID, policy_id: UUID, nets: Sequence[str], now: datetime) -> set[str]:
    """Return those networks about which a policy does nothing more for now."""
    rows = await tx.fetch(
        "SELECT DISTINCT net FROM rule_actions WHERE tenant_id = $1 AND policy_id = $2 AND net = ANY($3)"
        " AND until > $4",
        tenant_id,
        policy_id,
        list(nets),
        now,
    )
    return {row["net"] for row in rows}


async def list_past(tx: Tx, tenant_id: UUID, policy_id: UUID, nets: Sequence[str]) -> dict[str, Past]:
    """Return what a policy did last about networks, of what makes them offenders."""
    rows = await tx.fetch(
        "SELECT DISTINCT ON (net) net, step, until FROM rule_actions WHERE tenant_id = $1 AND policy_id = $2"
        " AND net = ANY($3) AND state = ANY($4) ORDER BY net, at DESC",
        tenant_id,
        policy_id,
        list(nets),
        list(ACTED),
    )
    return {row["net"]: Past(row["step"], row["until"]) for row in rows}


async def count_since(tx: Tx, tenant_id: UUID, policy_id: UUID, since: datetime) -> int:
    """Return how often a policy acted, or would have, since an instant."""
    return int(
        await tx.fetch_value(
            "SELECT count(*) FROM rule_actions WHERE tenant_id = $1 AND policy_id = $2 AND at > $3"
            " AND state <> 'refused'",
            tenant_id,
            policy_id,
            since,
        )
    )


async def list_unjudged(tx: Tx, limit: int) -> list[Unjudged]:
    """Return addresses of all tenants that policies have to see; those of projects without any are settled here."""
    await tx.run(
        "UPDATE ip_scores s SET unjudged = false WHERE s.unjudged AND NOT EXISTS (SELECT FROM projects p"
        " JOIN rule_policies r ON r.tenant_id = p.tenant_id AND r.project_id = p.project_id"
        " WHERE p.project_no = s.project_no AND r.enabled AND r.paused_at IS NULL AND p.state = 'active')"
    )
    rows = await tx.fetch(
        "SELECT p.tenant_id, s.tenant_no, p.project_id, s.project_no, s.address, s.score, s.folds FROM ip_scores s"
        " JOIN projects p USING (project_no) WHERE s.unjudged ORDER BY s.tenant_no, s.project_no LIMIT $1",
        limit,
    )
    return [Unjudged(TenantKey(row[0], row[1]), *tuple(row)[2:]) for row in rows]


async def settle(tx: Tx, judged: Sequence[Unjudged]) -> None:
    """Note that policies have seen addresses, those excepted that did more meanwhile."""
    await tx.run(
        "UPDATE ip_scores s SET unjudged = false FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])"
        " AS u(tenant_no, project_no, address, folds)"
        " WHERE (s.tenant_no, s.project_no, s.address, s.folds) = (u.tenant_no, u.project_no, u.address, u.folds)",
        [each.tenant.no for each in judged],
        [each.project_no for each in judged],
        [each.address for each in judged],
        [each.folds for each in judged],
    )


def _policy(row: Any) -> Policy:
    policy_id, project_id, name, cause, effect, mode, per_hour, never, target, *rest = row
    read: Cause = msgspec.convert(cause, Cause)
    return Policy(
        policy_id,
        project_id,
        name,
        read,
        msgspec.convert(effect, Effect),
        mode,
        per_hour,
        tuple(never),
        Target(**target),
        *rest,
    )


def _action(row: Any) -> Action:
    return Action(*tuple(row))
