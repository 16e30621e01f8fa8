"""Processes, their packed states, score rows and lanes: tables and the statements of the scoring step."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)
LANES: Final = 64
GROUP_OF_AGENT: Final = "coalesce(left(a.metadata->>'group', 200), a.agent_id)"  # 200 fit an index
# Kinds of input that say which baselines, answers and verdict heads an agent used from a position on.
PROFILES_TAKEN: Final = "profiles"
ANSWERS_TAKEN: Final = "answers"
HEADS_TAKEN: Final = "heads"
# Which heads of a tenant look at processes now: versions with whether they count (+) or are in shadow (-).
HEADS_NOW: Final = (
    "coalesce((SELECT string_agg(h.version || CASE h.state WHEN 'on' THEN '+' ELSE '-' END, ' ' ORDER BY h.version)"
    " FROM risk_heads h WHERE h.tenant_no = {tenant} AND h.state <> 'off'), '')"
)

processes = Table(
    "processes",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", _INSTANT, nullable=False),
    Column("last_seen", _INSTANT, nullable=False),
    Column("exited_at", _INSTANT),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("other_events", BigInteger, nullable=False),
    Column("risk", Integer, nullable=False),
    Column("tree_risk", Integer, nullable=False),
    Column("risk_score", Integer, nullable=False),
    Column("anomaly_score", Integer),
    Column("band", Text, nullable=False),
    Column("tree_band", Text, nullable=False),
    Column("exe", Text),
    Column("comm", Text),
    Column("parent_key", Text),
    Column("root_key", Text, nullable=False),
    Column("alphabet", Text, nullable=False),
    Column("profile_version", Integer),
    Column("score_id", Uuid),
    Column("hot", Boolean, nullable=False),
    PrimaryKeyConstraint("agent_no", "key"),
    Index("processes_tenant_no_last_seen_idx", "tenant_no", "last_seen", "agent_no", "key"),
    Index("processes_tenant_no_risk_idx", "tenant_no", "risk", "agent_no", "key"),
    Index("processes_tenant_no_process_id_idx", "tenant_no", "process_id"),
    Index("processes_agent_no_root_key_idx", "agent_no", "root_key"),
    Index("processes_agent_no_hot_idx", "agent_no", postgresql_where=text("hot")),
)

process_states = Table(
    "process_states",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", LargeBinary, nullable=False),
    PrimaryKeyConstraint("agent_no", "key"),
)

process_inputs = Table(
    "process_inputs",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("n", SmallInteger, nullable=False),
    Column("key", Text),
    Column("kind", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    PrimaryKeyConstraint("agent_no", "position", "n"),
)

score_cursors = Table(
    "score_cursors",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("profile_version", Integer),
    Column("answers_version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("shipped_rules", Text),
    Column("rules_version", Integer),
    Column("clock_at", _INSTANT),
    Column("heard_at", _INSTANT),
    Column("cools_at", _INSTANT),
    Column("loss_told_at", _INSTANT),
    Column("swept_at", _INSTANT),
    Column("heads", Text, nullable=False),
    Index("score_cursors_cools_at_idx", "agent_no", postgresql_where=text("cools_at IS NOT NULL")),
)

score_lanes = Table(
    "score_lanes",
    metadata,
    Column("lane", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Uuid),
    Column("lease_until", _INSTANT),
)

scores = Table(
    "scores",
    metadata,
    Column("score_id", Uuid, nullable=False),
    Column("calculated_at", _INSTANT, nullable=False),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("risk", Integer, nullable=False),
    Column("tree_risk", Integer, nullable=False),
    Column("risk_score", Integer, nullable=False),
    Column("anomaly_score", Integer),
    Column("key", Text, nullable=False),
    Column("root_key", Text, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("band", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("versions", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant_no", "score_id", "calculated_at"),
    Index("scores_tenant_no_calculated_at_idx", "tenant_no", "calculated_at", "score_id"),
    Index("scores_agent_no_key_position_idx", "agent_no", "key", "position"),
    postgresql_partition_by="RANGE (calculated_at)",
)

PROCESS_COLUMNS: Final = (
    "tenant_no", "agent_no", "key", "process_id", "pid", "started_at", "last_seen", "exited_at", "first_position",
    "last_position", "calls", "other_events", "risk", "tree_risk", "risk_score", "anomaly_score", "band",
    "tree_band", "exe", "comm", "parent_key", "root_key", "alphabet", "profile_version", "score_id",
    "hot",
)  # fmt: skip
_PROCESS_TYPES: Final = (
    "bigint", "bigint", "text", "text", "int", "timestamptz", "timestamptz", "timestamptz", "bigint",
    "bigint", "bigint", "bigint", "int", "int", "int", "int", "text",
    "text", "text", "text", "text", "text", "text", "int", "uuid",
    "boolean",
)  # fmt: skip
CURSOR_COLUMNS: Final = (
    "position", "profile_version", "answers_version", "state", "shipped_rules", "rules_version", "clock_at",
    "heard_at", "cools_at", "loss_told_at", "swept_at", "heads",
)  # fmt: skip
_MOVE_CURSOR: Final = (
    f"INSERT INTO score_cursors AS c (tenant_no, agent_no, {', '.join(CURSOR_COLUMNS)})"
    f" VALUES ($1, $2, {', '.join(f'${n}' for n in range(4, 4 + len(CURSOR_COLUMNS)))})"
    f" ON CONFLICT (agent_no) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in CURSOR_COLUMNS)}"
    " WHERE c.position = $3 RETURNING true"
)
_SCORE_COLUMNS: Final = tuple(column.name for column in scores.columns)


def _unnest(types: Sequence[str]) -> str:
    return ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, 1))


_UPSERT_PROCESSES: Final = (
    f"INSERT INTO processes AS p ({', '.join(PROCESS_COLUMNS)}) SELECT * FROM unnest({_unnest(_PROCESS_TYPES)})"
    " ON CONFLICT (agent_no, key) DO UPDATE SET "
    + ", ".join(
        f"{name} = coalesce(excluded.score_id, p.score_id)"
        if name == "score_id"
        else f"{name} = excluded.{name}"
        for name in PROCESS_COLUMNS[4:]
    )
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """An agent with events that are not scored yet: up to ``last``; ``position`` is where scoring stands.

    ``group`` shares baselines and answers: ``profile_version`` and ``answers_version`` are the newest ones it has;
    ``rules_version`` is the newest of the tenant's rule set, 0 for none; ``heads`` are its verdict heads (see
    `HEADS_NOW`). ``seen_at``: the last contact.
    """

    tenant_no: int
    tenant_id: UUID
    agent_no: int
    agent_id: str
    position: int
    last: int
    group: str
    profile_version: int | None
    answers_version: int
    rules_version: int
    seen_at: datetime | None
    heads: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the scoring of an agent stands, with what the engine keeps of it that belongs to no process.

    ``shipped_rules`` and ``rules_version`` name the rules that it used last, None before it was written down;
    ``heads`` the verdict heads. In
    event time: ``clock_at`` is the agent's clock, ``cools_at`` when its state changes next without events,
    ``swept_at`` up to when that has been shown already, ``loss_told_at`` when losses were last told. ``heard_at``
    is the agent's last contact, in our time.
    """

    position: int
    profile_version: int | None
    answers_version: int
    state: bytes
    shipped_rules: str | None
    rules_version: int | None
    clock_at: datetime | None
    heard_at: datetime | None = None
    cools_at: datetime | None = None
    loss_told_at: datetime | None = None
    swept_at: datetime | None = None
    heads: str = ""


async def take_lanes(tx: Tx, owner: UUID, limit: int, now: datetime, until: datetime) -> list[int]:
    """Renew this worker's lanes and take free or lapsed ones up to ``limit``; returns what it holds."""
    rows = await tx.fetch(
        "WITH mine AS (SELECT lane FROM score_lanes WHERE owner = $1 ORDER BY lane LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " free AS (SELECT lane FROM score_lanes WHERE owner IS DISTINCT FROM $1"
        " AND (lease_until IS NULL OR lease_until < $3) ORDER BY lane"
        " LIMIT greatest(0, $2 - (SELECT count(*) FROM score_lanes WHERE owner = $1)) FOR UPDATE SKIP LOCKED)"
        " UPDATE score_lanes l SET owner = $1, lease_until = $4"
        " WHERE l.lane IN (SELECT lane FROM mine UNION SELECT lane FROM free) RETURNING l.lane",
        owner,
        limit,
        now,
        until,
    )
    return sorted(row["lane"] for row in rows)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane of this worker back."""
    await tx.run("UPDATE score_lanes SET owner = NULL, lease_until = NULL WHERE owner = $1", owner)


async def list_backlog(
    tx: Tx, lanes: Sequence[int], limit: int, after: int, without: Sequence[int]
) -> list[Backlog]:
    """Return agents of these lanes with events to score by number, beginning behind ``after``, and round."""
    rows = await tx.fetch(
        "SELECT a.tenant_no, a.tenant_id, a.agent_no, a.agent_id, coalesce(c.position, 0) AS position,"
        f" a.next_position - 1 AS last, {GROUP_OF_AGENT} AS group_name, (SELECT max(r.version) FROM risk_profiles r"
        f" WHERE r.tenant_no = a.tenant_no AND r.group_name = {GROUP_OF_AGENT}) AS profile_version,"
        " coalesce((SELECT w.version FROM risk_answers w WHERE w.tenant_no = a.tenant_no"
        f" AND w.group_name = {GROUP_OF_AGENT}), 0) AS answers_version,"
        " coalesce((SELECT max(s.version) FROM risk_rule_sets s WHERE s.tenant_no = a.tenant_no), 0) AS rules_version,"
        f" a.last_seen, {HEADS_NOW.format(tenant='a.tenant_no')}"
        " FROM host_agents a LEFT JOIN score_cursors c USING (agent_no)"
        f" WHERE a.agent_no % {LANES} = ANY($1::int[]) AND a.next_position - 1 > coalesce(c.position, 0)"
        " AND a.agent_no <> ALL($3::bigint[]) ORDER BY a.agent_no <= $4, a.agent_no LIMIT $2",
        list(lanes),
        limit,
        list(without),
        after,
    )
    return [Backlog(*row) for row in rows]


async def get_cursor(tx: Tx, agent_no: int) -> Cursor | None:
    """Return where scoring of an agent stands; None before its first step."""
    row = await tx.fetch_row(
        f"SELECT {', '.join(CURSOR_COLUMNS)} FROM score_cursors WHERE agent_no = $1", agent_no
    )
    return None if row is None else Cursor(*row)


async def hold_cursor(tx: Tx, agent_no: int) -> int | None:
    """Return where scoring of an agent stands and keep it there until the transaction ends."""
    found: int | None = await tx.fetch_value(
        "SELECT position FROM score_cursors WHERE agent_no = $1 FOR SHARE", agent_no
    )
    return found


async def move_cursor(tx: Tx, tenant_no: int, agent_no: int, expected: int, cursor: Cursor) -> bool:
    """Move the cursor from where this step found it; False when somebody else has moved it.

    What a sweep has shown beyond the events before is forgotten: the state has caught up with it.
    """
    return bool(
        await tx.fetch_value(
            _MOVE_CURSOR,
            tenant_no,
            agent_no,
            expected,
            *(getattr(cursor, name) for name in CURSOR_COLUMNS),
        )
    )


async def load_live(tx: Tx, agent_no: int, gone_before: datetime) -> list[bytes]:
    """Return the packed states of processes that live, ended only just, or will change by time alone."""
    rows = await tx.fetch(
        "SELECT s.state FROM process_states s JOIN processes p USING (agent_no, key)"
        " WHERE agent_no = $1 AND (p.exited_at IS NULL OR p.exited_at >= $2 OR p.hot) ORDER BY p.first_position, key",
        agent_no,
        gone_before,
    )
    return [row["state"] for row in rows]


async def load_states(tx: Tx, agent_no: int, keys: Sequence[str]) -> list[bytes]:
    """Return the packed states of some processes, where stored."""
    rows = await tx.fetch(
        "SELECT state FROM process_states WHERE agent_no = $1 AND key = ANY($2::text[]) ORDER BY key",
        agent_no,
        list(keys),
    )
    return [row["state"] for row in rows]


async def save_processes(tx: Tx, rows: Sequence[Sequence[Any]], states: Sequence[bytes]) -> None:
    """Write processes (values of all columns, in order) with their packed states."""
    columns = list(zip(*rows, strict=True))
    await tx.run(_UPSERT_PROCESSES, *(list(column) for column in columns))
    await tx.run(
        "INSERT INTO process_states (tenant_no, agent_no, key, state)"
        " SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[])"
        " ON CONFLICT (agent_no, key) DO UPDATE SET state = excluded.state",
        list(columns[0]),
        list(columns[1]),
        list(columns[2]),
        list(states),
    )


async def add_scores(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Insert score rows (values of all columns, in order) through the partitioned table."""
    places = ", ".join(f"${n}" for n in range(1, len(_SCORE_COLUMNS) + 1))
    await tx.run_many(
        f"INSERT INTO scores ({', '.join(_SCORE_COLUMNS)}) VALUES ({places}) ON CONFLICT DO NOTHING", rows
    )


async def add_inputs(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Insert what processes took from others."""
    await tx.run_many(
        "INSERT INTO process_inputs (tenant_no, agent_no, position, n, key, kind, data)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        rows,
    )
