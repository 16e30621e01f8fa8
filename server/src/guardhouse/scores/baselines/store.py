"""Baselines by program and version, and the runs that wait to be learned: tables and statements.

A version of a group holds the programs that it changed; what a program is at a version is its newest row up to
there. The row of the empty program holds the counts of all programs of an alphabet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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

from guardhouse.foundation.database import Tx, metadata
from guardhouse.scores.store import GROUP_OF_AGENT

_INSTANT = DateTime(timezone=True)

risk_profiles = Table(
    "risk_profiles",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("learned_at", _INSTANT, nullable=False),
    Column("learned_by", Text, nullable=False),
    Column("programs", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("calls", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_no", "group_name", "version"),
)

risk_baselines = Table(
    "risk_baselines",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("profile_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("exe", Text, nullable=False),
    Column("alphabet", Text, nullable=False),
    Column("learned_at", _INSTANT, nullable=False),
    Column("halved_at", _INSTANT, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_no", "profile_id", "version"),
    Index("risk_baselines_tenant_no_group_name_idx", "tenant_no", "group_name", "profile_id"),
)

risk_runs = Table(
    "risk_runs",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("after_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Column("root_key", Text, nullable=False),
    Column("exe", Text, nullable=False),
    Column("alphabet", Text, nullable=False),
    Column("started_at", _INSTANT, nullable=False),
    Column("ended_at", _INSTANT, nullable=False),
    Column("hits", JSONB, nullable=False),
    Column("edge", Text),
    Column("calm", Boolean, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("going_on", Boolean, nullable=False),
    Column("folded_to", BigInteger, nullable=False),
    Column("left_out", Text),
    PrimaryKeyConstraint("agent_no", "key", "after_position"),
    Index("risk_runs_tenant_no_ended_at_idx", "tenant_no", "ended_at"),
)

_HITS: Final = 9  # the place of `hits` in a StoredRun
_RUN_COLUMNS: Final = tuple(column.name for column in risk_runs.columns)
_BASELINE_COLUMNS: Final = tuple(column.name for column in risk_baselines.columns)
# A run that went on when it was last looked at keeps what was learned of it.
_ADD_RUNS: Final = (
    f"INSERT INTO risk_runs AS r ({', '.join(_RUN_COLUMNS)}) VALUES"
    f" ({', '.join(f'${n}' for n in range(1, len(_RUN_COLUMNS) + 1))})"
    " ON CONFLICT (agent_no, key, after_position) DO UPDATE SET last_position = excluded.last_position,"
    " ended_at = excluded.ended_at, hits = excluded.hits, edge = excluded.edge, calm = excluded.calm,"
    " received = excluded.received, lost = excluded.lost, going_on = excluded.going_on"
    " WHERE r.last_position <= excluded.last_position AND r.going_on"
)
_ADD_BASELINES: Final = (
    f"INSERT INTO risk_baselines ({', '.join(_BASELINE_COLUMNS)}) VALUES"
    f" ({', '.join(f'${n}' for n in range(1, len(_BASELINE_COLUMNS) + 1))})"
)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run, or what is known of one that goes on; learned up to the position ``folded_to``."""

    agent_no: int
    key: str
    after_position: int
    last_position: int
    root_key: str
    exe: str
    alphabet: str
    started_at: datetime
    ended_at: datetime
    hits: list[tuple[str, int]]
    edge: str | None
    calm: bool
    received: int
    lost: int
    going_on: bool
    folded_to: int


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """One program of a group as of its newest version; ``packed`` is its baseline."""

    profile_id: UUID
    version: int
    group: str
    exe: str
    alphabet: str
    learned_at: datetime
    halved_at: datetime
    runs: int
    calls: int
    packed: bytes


_STORED: Final = "profile_id, version, group_name, exe, alphabet, learned_at, halved_at, runs, calls, packed"


async def newest_version(tx: Tx, tenant_no: int, group: str) -> int | None:
    """Return the newest version of a group's baselines."""
    found: int | None = await tx.fetch_value(
        "SELECT max(version) FROM risk_profiles WHERE tenant_no = $1 AND group_name = $2", tenant_no, group
    )
    return found


async def list_alphabets(tx: Tx, tenant_no: int, group: str) -> list[str]:
    """Return the alphabets that a group has baselines in."""
    rows = await tx.fetch(
        "SELECT DISTINCT alphabet FROM risk_baselines WHERE tenant_no = $1 AND group_name = $2 AND exe = ''",
        tenant_no,
        group,
    )
    return sorted(row["alphabet"] for row in rows)


async def load(tx: Tx, tenant_no: int, profile_ids: Sequence[UUID], version: int) -> list[StoredBaseline]:
    """Return programs as they are at a version; those that it does not have yet are left out."""
    rows = await tx.fetch(
        f"SELECT DISTINCT ON (profile_id) {_STORED} FROM risk_baselines WHERE tenant_no = $1"
        " AND profile_id = ANY($2::uuid[]) AND version <= $3 ORDER BY profile_id, version DESC",
        tenant_no,
        list(profile_ids),
        version,
    )
    return [StoredBaseline(*row) for row in rows]


async def list_due(tx: Tx, tenant_no: int, group: str, before: datetime, limit: int) -> list[StoredBaseline]:
    """Return programs of a group whose counts were last halved, or begun, before an instant."""
    rows = await tx.fetch(
        f"SELECT {_STORED} FROM (SELECT DISTINCT ON (profile_id) * FROM risk_baselines WHERE tenant_no = $1"
        " AND group_name = $2 ORDER BY profile_id, version DESC) b WHERE halved_at < $3 ORDER BY profile_id LIMIT $4",
        tenant_no,
        group,
        before,
        limit,
    )
    return [StoredBaseline(*row) for row in rows]


async def add_version(tx: Tx, row: Sequence[Any]) -> bool:
    """Insert one version of a group (values of all columns, in order); False when somebody else has made it."""
    return bool(
        await tx.fetch_value(
            "INSERT INTO risk_profiles (tenant_no, group_name, version, learned_at, learned_by, programs, runs,"
            " calls) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true",
            *row,
        )
    )


async def add_baselines(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Insert programs of a version (values of all columns, in order)."""
    await tx.run_many(_ADD_BASELINES, rows)


async def add_runs(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Insert runs (values of all columns, in order), or tell more of those that went on."""
    await tx.run_many(_ADD_RUNS, rows)


@dataclass(frozen=True, slots=True)
class OpenProcess:
    """A process that has not ended, with the packed states of itself and its agent."""

    agent_no: int
    key: str
    state: bytes
    agent_state: bytes


async def list_open(
    tx: Tx, tenant_no: int, group: str, silent_since: datetime, after: tuple[int, str], limit: int
) -> list[OpenProcess]:
    """Return processes of a group without an end whose run is not noted yet, last seen before an instant."""
    rows = await tx.fetch(
        "SELECT p.agent_no, p.key, s.state, c.state AS agent_state FROM processes p"
        " JOIN host_agents a USING (agent_no) JOIN process_states s USING (agent_no, key)"
        " JOIN score_cursors c ON c.agent_no = p.agent_no"
        f" WHERE p.tenant_no = $1 AND {GROUP_OF_AGENT} = $2 AND p.exited_at IS NULL AND p.last_seen < $3"
        " AND p.calls > 0 AND p.exe IS NOT NULL AND (p.agent_no, p.key) > ($4, $5)"
        " AND NOT EXISTS (SELECT 1 FROM risk_runs r WHERE r.agent_no = p.agent_no AND r.key = p.key"
        " AND r.going_on AND r.last_position >= p.last_position)"
        " ORDER BY p.agent_no, p.key LIMIT $6",
        tenant_no,
        group,
        silent_since,
        *after,
        limit,
    )
    return [OpenProcess(*row) for row in rows]


async def list_waiting(
    tx: Tx, tenant_no: int, group: str, ended_before: datetime, limit: int, *, vouched: bool
) -> list[StoredRun]:
    """Return runs of a group that are not wholly learned, those that ended first before the others.

    Processes and trees that somebody confirmed are barred. ``vouched``: those left out for their risk too.
    """
    columns = ", ".join(f"r.{name}" for name in _RUN_COLUMNS[1:-1])
    rows = await tx.fetch(
        f"SELECT {columns} FROM risk_runs r JOIN host_agents a USING (agent_no) WHERE r.tenant_no = $1"
        f" AND {GROUP_OF_AGENT} = $2 AND r.ended_at < $3 AND r.folded_to < r.last_position"
        " AND (r.left_out IS NULL OR ($5 AND r.left_out IN ('risk', 'incident')))"
        " AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.agent_no = r.agent_no AND v.key IN (r.key, r.root_key)"
        " AND v.verdict = 'confirmed' AND v.until IS NULL)"
        " ORDER BY r.ended_at, r.agent_no, r.key, r.after_position LIMIT $4",
        tenant_no,
        group,
        ended_before,
        limit,
        vouched,
    )
    return [_run(row) for row in rows]


def _run(row: Any) -> StoredRun:
    values = list(row)
    values[_HITS] = msgspec.convert(values[_HITS], list[tuple[str, int]])
    return StoredRun(*values)


async def load_states(
    tx: Tx, tenant_no: int, places: Sequence[tuple[int, str]]
) -> list[tuple[int, str, bytes]]:
    """Return (agent, key, packed state) of processes, where stored."""
    rows = await tx.fetch(
        "SELECT s.agent_no, s.key, s.state FROM process_states s JOIN unnest($2::bigint[], $3::text[])"
        " w (agent_no, key) USING (agent_no, key) WHERE s.tenant_no = $1",
        tenant_no,
        [agent_no for agent_no, _ in places],
        [key for _, key in places],
    )
    return [(row["agent_no"], row["key"], row["state"]) for row in rows]


async def leave_out_incidents(tx: Tx, tenant_no: int, group: str, ended_before: datetime) -> None:
    """Note of runs that waited for their turn that their tree was in an incident meanwhile."""
    await tx.run(
        "UPDATE risk_runs r SET left_out = 'incident' FROM host_agents a WHERE a.agent_no = r.agent_no"
        f" AND r.tenant_no = $1 AND {GROUP_OF_AGENT} = $2 AND r.ended_at < $3 AND r.left_out IS NULL"
        " AND r.folded_to < r.last_position AND EXISTS (SELECT 1 FROM risk_incidents i WHERE i.agent_no = r.agent_no"
        " AND i.root_key = r.root_key AND i.opened_at <= r.ended_at"
        " AND coalesce(i.closed_at, 'infinity') >= r.started_at)",
        tenant_no,
        group,
        ended_before,
    )


async def leave_out(tx: Tx, tenant_no: int, runs: Sequence[StoredRun], reason: str) -> None:
    """Note why runs are not learned."""
    await tx.run_many(
        "UPDATE risk_runs SET left_out = $5 WHERE tenant_no = $1 AND agent_no = $2 AND key = $3"
        " AND after_position = $4",
        [(tenant_no, run.agent_no, run.key, run.after_position, reason) for run in runs],
    )


async def mark_folded(tx: Tx, tenant_no: int, parts: Sequence[tuple[StoredRun, int]]) -> None:
    """Note up to which position runs are learned; those that ended and are learned whole are forgotten."""
    await tx.run_many(
        "UPDATE risk_runs SET folded_to = $5 WHERE tenant_no = $1 AND agent_no = $2 AND key = $3"
        " AND after_position = $4",
        [(tenant_no, run.agent_no, run.key, run.after_position, to) for run, to in parts],
    )
    await tx.run_many(
        "DELETE FROM risk_runs WHERE tenant_no = $1 AND agent_no = $2 AND key = $3 AND after_position = $4"
        " AND folded_to >= last_position AND NOT going_on",
        [(tenant_no, run.agent_no, run.key, run.after_position) for run, _ in parts],
    )


async def list_groups(tx: Tx, ended_before: datetime, halved_before: datetime) -> list[tuple[UUID, int, str]]:
    """Return (tenant, its number, group) of every group with something to learn, to look at, or to halve."""
    rows = await tx.fetch(
        f"SELECT DISTINCT a.tenant_id, a.tenant_no, {GROUP_OF_AGENT} AS group_name FROM host_agents a"
        " WHERE EXISTS (SELECT 1 FROM risk_runs r WHERE r.agent_no = a.agent_no AND r.ended_at < $1"
        " AND r.folded_to < r.last_position AND r.left_out IS NULL)"
        " OR EXISTS (SELECT 1 FROM processes p WHERE p.agent_no = a.agent_no AND p.exited_at IS NULL"
        " AND p.last_seen < $1 AND p.calls > 0 AND p.exe IS NOT NULL)"
        " OR EXISTS (SELECT 1 FROM risk_baselines b WHERE b.tenant_no = a.tenant_no"
        f" AND b.group_name = {GROUP_OF_AGENT} AND b.halved_at < $2)"
        " ORDER BY 2, 3",
        ended_before,
        halved_before,
    )
    return [(row["tenant_id"], row["tenant_no"], row["group_name"]) for row in rows]


async def prune(tx: Tx, before: datetime) -> None:
    """Forget runs that ended before an instant, and versions that nobody can be bound to since then."""
    await tx.run("DELETE FROM risk_runs WHERE ended_at < $1", before)
    await tx.run(
        "DELETE FROM risk_baselines b USING risk_baselines n WHERE n.tenant_no = b.tenant_no"
        " AND n.profile_id = b.profile_id AND n.version > b.version AND n.learned_at < $1"
        " AND n.version <= coalesce((SELECT min(p.profile_version) FROM processes p JOIN host_agents a USING (agent_no)"
        f" WHERE a.tenant_no = b.tenant_no AND {GROUP_OF_AGENT} = b.group_name AND p.exited_at IS NULL"
        " AND p.last_seen >= $1), n.version)",
        before,
    )


async def group_of(tx: Tx, tenant_no: int, agent_id: str | None, group: str | None) -> str | None:
    """Return the group of an agent, or a group that an active agent is in."""
    found: str | None = await tx.fetch_value(
        f"SELECT {GROUP_OF_AGENT} FROM host_agents a WHERE a.tenant_no = $1 AND ($2::text IS NULL OR a.agent_id = $2)"
        f" AND ($3::text IS NULL OR {GROUP_OF_AGENT} = $3) LIMIT 1",
        tenant_no,
        agent_id,
        group,
    )
    return found
