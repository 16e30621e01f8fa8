"""The reading side of scores: processes, trees and score rows for people. Plain SQL, values as arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.analysis.risk.event import base36
from guardhouse.foundation.database import Tx
from guardhouse.scores.store import GROUP_OF_AGENT, PROCESS_COLUMNS


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process as stored; risks and scores in hundredths as of its last event."""

    agent_no: int
    agent_id: str
    group: str
    key: str
    process_id: str
    pid: int
    started_at: datetime
    last_seen: datetime
    exited_at: datetime | None
    first_position: int
    last_position: int
    calls: int
    other_events: int
    risk: int
    tree_risk: int
    risk_score: int
    anomaly_score: int | None
    band: str
    tree_band: str
    exe: str | None
    comm: str | None
    parent_key: str | None
    root_key: str
    alphabet: str
    profile_version: int | None
    score_id: UUID | None
    hot: bool

    def relative_id(self, key: str | None) -> str | None:
        """Return the process id of a process of the same agent from its key."""
        if key is None:
            return None
        pid, start, _ = key.split(".", 2)
        known = f":{base36(int(start))}" if int(start) >= 0 else ""
        return f"{self.agent_id}:{pid}{known}"


@dataclass(frozen=True, slots=True)
class StoredScore:
    """One score row; ``evidence`` is a list of (id, micro-nats, points in hundredths)."""

    score_id: UUID
    calculated_at: datetime
    agent_no: int
    agent_id: str
    position: int
    pid: int
    risk: int
    tree_risk: int
    risk_score: int
    anomaly_score: int | None
    key: str
    process_id: str
    band: str
    reasons: tuple[str, ...]
    evidence: list[list[Any]]
    versions: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is stored of a process, to compare with: its packed state, its risk in hundredths and its band."""

    state: bytes
    risk: int
    band: str


@dataclass(frozen=True, slots=True)
class ProcessFilter:
    """Which processes a list shows; None = all. Risks in hundredths."""

    agent_id: str | None = None
    process_id: str | None = None
    pid: int | None = None
    exe_prefix: str | None = None
    band: str | None = None
    tree_band: str | None = None
    risk_min: int | None = None
    risk_max: int | None = None
    alive: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Which score rows a list shows. ``by`` names the number that ``low`` and ``high`` (hundredths) bound."""

    latest: bool = True
    process_id: str | None = None
    agent_id: str | None = None
    by: str = "risk_score"
    low: int | None = None
    high: int | None = None
    band: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_OF_TREE: Final = {"tree_risk", "tree_band"}  # stored with the root
_PROCESSES: Final = (
    f"SELECT p.agent_no, a.agent_id, {GROUP_OF_AGENT}, "
    + ", ".join(f"coalesce(r.{n}, p.{n})" if n in _OF_TREE else f"p.{n}" for n in PROCESS_COLUMNS[2:])
    + " FROM processes p JOIN host_agents a USING (agent_no)"
    " LEFT JOIN processes r ON r.agent_no = p.agent_no AND r.key = p.root_key"
)
_HISTORY: Final = (
    "SELECT s.score_id, s.calculated_at, s.agent_no, a.agent_id, s.position, s.pid, s.risk, s.tree_risk,"
    " s.risk_score, s.anomaly_score, s.key, s.process_id, s.band, s.reasons, s.evidence, s.versions"
    " FROM scores s JOIN host_agents a USING (agent_no)"
)
# One row per process with its numbers as of its last event; the evidence is that of its newest score row.
_LATEST: Final = (
    "SELECT s.score_id, s.calculated_at, s.agent_no, a.agent_id, s.position, s.pid, s.risk,"
    " coalesce(t.tree_risk, 0) AS tree_risk, s.risk_score, s.anomaly_score, s.key, s.process_id, s.band,"
    " coalesce(r.reasons, '{}') AS reasons,"
    " coalesce(r.evidence, '[]') AS evidence, coalesce(r.versions, '{}') AS versions"
    " FROM (SELECT p.*, p.last_seen AS calculated_at, p.last_position AS position FROM processes p) s"
    " JOIN host_agents a USING (agent_no) LEFT JOIN processes t ON t.agent_no = s.agent_no AND t.key = s.root_key"
    " LEFT JOIN LATERAL (SELECT reasons, evidence, versions FROM scores h WHERE h.agent_no = s.agent_no"
    " AND h.key = s.key AND NOT h.reasons && '{recalculated}'"
    " ORDER BY h.position DESC, h.calculated_at DESC LIMIT 1) r ON true"
)


def _process(row: Any) -> ProcessRow:
    return ProcessRow(*row)


def _score(row: Any) -> StoredScore:
    values = dict(row)
    values["reasons"] = tuple(values["reasons"])
    return StoredScore(**values)


def conditions(tests: Sequence[tuple[str, object]]) -> tuple[str, list[object]]:
    """Return a WHERE clause over the tests that have a value, and the values in their order."""
    used = [(test, value) for test, value in tests if value is not None]
    return " AND ".join(test.format(n) for n, (test, _) in enumerate(used, 1)), [value for _, value in used]


async def list_processes(
    tx: Tx, tenant_no: int, wanted: ProcessFilter, sort: str, limit: int, after: Sequence[Any] | None
) -> list[ProcessRow]:
    """Return processes in descending order of ``last_seen`` or ``risk``; ``after`` = (that, agent_no, key)."""
    where, args = conditions(
        [
            ("p.tenant_no = ${}", tenant_no),
            ("a.agent_id = ${}", wanted.agent_id),
            ("p.process_id = ${}", wanted.process_id),
            ("p.pid = ${}", wanted.pid),
            ("starts_with(p.exe, ${})", wanted.exe_prefix),
            ("p.band = ${}", wanted.band),
            ("coalesce(r.tree_band, p.tree_band) = ${}", wanted.tree_band),
            ("p.risk >= ${}", wanted.risk_min),
            ("p.risk <= ${}", wanted.risk_max),
            ("(p.exited_at IS NULL) = ${}", wanted.alive),
            ("p.last_seen >= ${}", wanted.since),
            ("p.last_seen < ${}", wanted.until),
        ]
    )
    if after is not None:
        args += after
        n = len(args)
        where += f" AND (p.{sort}, p.agent_no, p.key) < (${n - 2}, ${n - 1}, ${n})"
    rows = await tx.fetch(
        f"{_PROCESSES} WHERE {where} ORDER BY p.{sort} DESC, p.agent_no DESC, p.key DESC LIMIT {int(limit)}",
        *args,
    )
    return [_process(row) for row in rows]


async def find_process(tx: Tx, tenant_no: int, process_id: str) -> ProcessRow | None:
    """Return the newest instance with this id; a short id (no start) also finds instances with one."""
    row = await tx.fetch_row(
        f"{_PROCESSES} WHERE p.tenant_no = $1 AND p.process_id = $2 ORDER BY p.last_position DESC LIMIT 1",
        tenant_no,
        process_id,
    )
    return None if row is None else _process(row)


async def find_newest(tx: Tx, tenant_no: int, agent_id: str, pid: int) -> ProcessRow | None:
    """Return the newest instance of a pid of an agent, whatever its start."""
    row = await tx.fetch_row(
        f"{_PROCESSES} WHERE p.tenant_no = $1 AND a.agent_id = $2 AND p.pid = $3"
        " ORDER BY p.last_position DESC LIMIT 1",
        tenant_no,
        agent_id,
        pid,
    )
    return None if row is None else _process(row)


async def list_tree(tx: Tx, agent_no: int, root_key: str, depth: int, limit: int) -> list[ProcessRow]:
    """Return the processes under a root down to a depth, in order of first appearance."""
    rows = await tx.fetch(
        "WITH RECURSIVE below AS (SELECT agent_no, key, 1 AS depth FROM processes WHERE agent_no = $1 AND key = $2"
        " UNION ALL SELECT c.agent_no, c.key, b.depth + 1 FROM processes c JOIN below b"
        " ON c.agent_no = b.agent_no AND c.parent_key = b.key AND c.root_key = $2 WHERE b.depth < $3)"
        f" {_PROCESSES} JOIN below b ON b.key = p.key WHERE p.agent_no = $1 ORDER BY p.first_position, p.key LIMIT $4",
        agent_no,
        root_key,
        depth,
        limit,
    )
    return [_process(row) for row in rows]


async def list_of_tree(
    tx: Tx, agent_no: int, root_key: str, since: datetime, until: datetime, limit: int
) -> list[ProcessRow]:
    """Return processes of a tree that lived between two instants, the riskiest first, its root before all."""
    rows = await tx.fetch(
        f"{_PROCESSES} WHERE p.agent_no = $1 AND p.root_key = $2 AND p.started_at <= $4"
        " AND (p.exited_at IS NULL OR p.exited_at >= $3)"
        " ORDER BY p.key = $2 DESC, p.risk DESC, p.first_position, p.key LIMIT $5",
        agent_no,
        root_key,
        since,
        until,
        limit,
    )
    return [_process(row) for row in rows]


async def list_scores(
    tx: Tx, tenant_no: int, wanted: ScoreFilter, limit: int, after: Sequence[Any] | None
) -> list[StoredScore]:
    """Return score rows, newest first; ``after`` = (calculated_at, score_id)."""
    where, args = conditions(
        [
            ("s.tenant_no = ${}", tenant_no),
            ("s.process_id = ${}", wanted.process_id),
            ("a.agent_id = ${}", wanted.agent_id),
            (f"s.{wanted.by} >= ${{}}", wanted.low),
            (f"s.{wanted.by} <= ${{}}", wanted.high),
            ("s.band = ${}", wanted.band),
            ("s.calculated_at >= ${}", wanted.since),
            ("s.calculated_at < ${}", wanted.until),
        ]
    )
    if after is not None:
        args += after
        where += f" AND (s.calculated_at, s.score_id) < (${len(args) - 1}, ${len(args)})"
    rows = await tx.fetch(
        f"{_LATEST if wanted.latest else _HISTORY} WHERE {where}"
        f" ORDER BY s.calculated_at DESC, s.score_id DESC LIMIT {int(limit)}",
        *args,
    )
    return [_score(row) for row in rows]


async def get_score(
    tx: Tx, tenant_no: int, score_id: UUID, since: datetime, until: datetime
) -> StoredScore | None:
    """Return one score row; the bounds are the time inside its id, so that one partition is read."""
    row = await tx.fetch_row(
        f"{_HISTORY} WHERE s.tenant_no = $1 AND s.score_id = $2 AND s.calculated_at >= $3 AND s.calculated_at < $4",
        tenant_no,
        score_id,
        since,
        until,
    )
    return None if row is None else _score(row)


async def count_backlog(tx: Tx) -> int:
    """Return how many events of all agents wait for scoring."""
    return int(
        await tx.fetch_value(
            "SELECT coalesce(sum(a.next_position - 1 - coalesce(c.position, 0)), 0)"
            " FROM host_agents a LEFT JOIN score_cursors c USING (agent_no)"
        )
    )


async def get_scored(tx: Tx, agent_no: int, key: str) -> tuple[int, bytes | None]:
    """Return where scoring of an agent stands and the packed state of a process just there, of one moment."""
    row = await tx.fetch_row(
        "SELECT c.position, s.state FROM score_cursors c"
        " LEFT JOIN process_states s ON s.agent_no = c.agent_no AND s.key = $2 WHERE c.agent_no = $1",
        agent_no,
        key,
    )
    return (0, None) if row is None else (row["position"], row["state"])


async def list_touched(tx: Tx, agent_no: int, position: int, limit: int) -> list[ProcessRow]:
    """Return processes of an agent that have events at or after a position, riskiest first."""
    rows = await tx.fetch(
        f"{_PROCESSES} WHERE p.agent_no = $1 AND p.last_position >= $2 ORDER BY p.risk DESC, p.key LIMIT $3",
        agent_no,
        position,
        limit,
    )
    return [_process(row) for row in rows]


async def list_states(tx: Tx, agent_no: int, keys: Sequence[str]) -> dict[str, StoredState]:
    """Return what is stored of some processes of an agent, by key."""
    rows = await tx.fetch(
        "SELECT p.key, s.state, p.risk, p.band FROM processes p JOIN process_states s USING (agent_no, key)"
        " WHERE p.agent_no = $1 AND p.key = ANY($2::text[])",
        agent_no,
        list(keys),
    )
    return {row["key"]: StoredState(row["state"], row["risk"], row["band"]) for row in rows}
