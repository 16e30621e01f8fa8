"""Reads processes, scores and the explanation behind a number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.explain import explain, explain_tree
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.summary import Summary, summarise
from guardhouse.events.find import LATEST_MS, split_process_id
from guardhouse.events.identify import milliseconds_of
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.scores import queries, store
from guardhouse.scores.baselines.history import ProfileHistory, take_in
from guardhouse.scores.heads.take import Heads
from guardhouse.scores.process_key import key_of, key_text
from guardhouse.scores.queries import ProcessFilter, ProcessRow, ScoreFilter, StoredScore
from guardhouse.scores.rules.rule_sets import RuleSets, rules_taken

ANCESTORS: Final = 16
Sort = Literal["last_seen", "risk"]


@dataclass(frozen=True, slots=True)
class Explained:
    """A process with why its number is what it is, and the same for its tree."""

    process: ProcessRow
    explanation: dict[str, Any]
    tree: dict[str, Any]


async def list_processes(
    tx: Tx, tenant: TenantKey, wanted: ProcessFilter, sort: Sort, limit: int, after: Sequence[Any] | None
) -> list[ProcessRow]:
    """Return processes, most recently seen or riskiest first."""
    return await queries.list_processes(tx, tenant.no, wanted, sort, limit, after)


async def get_process(tx: Tx, tenant: TenantKey, process_id: str) -> ProcessRow:
    """Return the newest process instance with this id.

    Raises:
        NotFound: there is none.
    """
    found = await queries.find_process(tx, tenant.no, process_id)
    if found is None:
        agent_id, pid, start = split_process_id(process_id)
        if start is None:
            found = await queries.find_newest(tx, tenant.no, agent_id, pid)
    if found is None:
        raise NotFound("There is no such process.")
    return found


async def explain_process(tx: Tx, tenant: TenantKey, process_id: str) -> Explained:
    """Return a process with its explanation, made from the state that scoring stored.

    Raises:
        NotFound: there is none.
    """
    row = await get_process(tx, tenant, process_id)
    engine = await engine_with(tx, tenant, row)
    states = engine.instances.states
    process = states[key_of(row.key)]
    root = states.get(process.root, process)
    row = _as_of(row, summarise(engine.instances, process), summarise(engine.instances, root))
    return Explained(row, explain(engine, process, row.agent_id), explain_tree(engine, root, row.agent_id))


async def list_tree(
    tx: Tx, tenant: TenantKey, process_id: str, depth: int, limit: int
) -> tuple[list[ProcessRow], bool]:
    """Return the processes of a tree, root first, and whether more exist than shown.

    Raises:
        NotFound: there is no such process.
    """
    row = await get_process(tx, tenant, process_id)
    rows = await queries.list_tree(tx, row.agent_no, row.root_key, depth, limit + 1)
    return rows[:limit], len(rows) > limit


async def list_scores(
    tx: Tx, tenant: TenantKey, wanted: ScoreFilter, limit: int, after: Sequence[Any] | None
) -> list[StoredScore]:
    """Return score rows, newest first: every row, or the newest of each process with current numbers."""
    return await queries.list_scores(tx, tenant.no, wanted, limit, after)


async def get_score(tx: Tx, tenant: TenantKey, score_id: UUID) -> StoredScore:
    """Return one score row.

    Raises:
        NotFound: there is none.
    """
    milliseconds = milliseconds_of(score_id.bytes)
    if milliseconds > LATEST_MS:
        raise NotFound("There is no such score.")
    since = from_microseconds(milliseconds * 1000)
    found = await queries.get_score(tx, tenant.no, score_id, since, since + timedelta(milliseconds=1))
    if found is None:
        raise NotFound("There is no such score.")
    return found


def _as_of(row: ProcessRow, summary: Summary, of_root: Summary) -> ProcessRow:
    """Return the row with the numbers of the very state that is explained; scoring may have gone on meanwhile."""
    return replace(
        row,
        last_seen=from_microseconds(summary.last_us),
        exited_at=None if summary.exited_us is None else from_microseconds(summary.exited_us),
        last_position=summary.last_position,
        calls=summary.calls,
        other_events=summary.other_events,
        risk=summary.risk,
        tree_risk=of_root.tree_risk,
        risk_score=summary.risk_score,
        anomaly_score=summary.anomaly_score,
        band=summary.band,
        tree_band=of_root.tree_band,
    )


async def engine_with(tx: Tx, tenant: TenantKey, row: ProcessRow) -> AgentEngine:
    """Return an engine with a process, its ancestors and its root as scoring stored them.

    Raises:
        NotFound: there is no such process.
    """
    profiles = ProfileHistory(tenant.no, row.group)
    cursor = await store.get_cursor(tx, row.agent_no)
    rules = await RuleSets(RuleSet.builtin()).get(tx, tenant.no, rules_taken(cursor))
    engine = AgentEngine(rules, profiles)
    if cursor is not None:
        engine.load_agent(cursor.state)
        engine.heads = await Heads().get(tx, tenant.no, cursor.heads)
    wanted = [row.key, row.root_key]
    for _ in range(ANCESTORS):
        for packed in await store.load_states(tx, row.agent_no, wanted):
            await take_in(tx, engine, profiles, packed)
        states = engine.instances.states
        wanted = [
            key_text(p.parent) for p in states.values() if p.parent is not None and p.parent not in states
        ]
        if not wanted:
            break
    if cursor is not None and cursor.swept_at is not None:
        engine.sweep(microseconds(cursor.swept_at))  # as the lists show it
    if key_of(row.key) not in engine.instances.states:
        raise NotFound("There is no such process.")
    return engine


def evidence_of(score: StoredScore) -> list[dict[str, Any]]:
    """Return the evidence snapshot of a score row: id, nats and points."""
    return [
        {"id": name, "nats": round(nats / 1_000_000, 3), "points": points / 100}
        for name, nats, points in msgspec.convert(score.evidence, list[tuple[str, int, int]])
    ]
