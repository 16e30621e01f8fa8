"""Rows of scores, processes and inputs as the engine's effects give them, in the transaction of the step."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from guardhouse.analysis.risk.effects import Input, ScoreRow
from guardhouse.analysis.risk.engine import ENGINE_VERSION, AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, process_id
from guardhouse.analysis.risk.scoring import NEVER
from guardhouse.analysis.risk.summary import Dirty
from guardhouse.events.identify import identifier
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import Tx
from guardhouse.scores import store
from guardhouse.scores.process_key import key_text
from guardhouse.scores.rules import store as rule_store
from guardhouse.scores.store import Backlog

EPOCH: Final = date(1970, 1, 1)


class DayMissing(Exception):  # noqa: N818 - tells the lane to make the partition
    """A day of a score row has no partition; the step is lost."""

    def __init__(self, day: date) -> None:
        super().__init__(day)
        self.day = day


def cools_at(engine: AgentEngine) -> datetime | None:
    """Return the instant of event time at which the state changes next without events; None for never."""
    due_us = engine.scorer.next_cool_us
    return None if due_us == NEVER else from_microseconds(due_us)


async def save(
    tx: Tx, engine: AgentEngine, work: Backlog, rows: Sequence[ScoreRow], inputs: Sequence[Input]
) -> None:
    """Write score rows, the processes that changed with their states, inputs, and how often rules hit.

    Raises:
        DayMissing: a day of a score row has no partition.
    """
    newest = await save_rows(tx, engine, work, rows)
    dirty = engine.take_dirty()
    if dirty:
        await store.save_processes(
            tx,
            [_process_values(work, item, newest.get(item.key)) for item in dirty],
            [item.packed for item in dirty],
        )
    if inputs:
        await store.add_inputs(tx, list(_input_values(work, inputs)))
    hits = engine.judge.take_hits()
    if hits:
        await rule_store.add_hits(tx, [(work.tenant_no, work.agent_no, *row) for row in _hit_values(hits)])


async def save_rows(
    tx: Tx, engine: AgentEngine, work: Backlog, rows: Sequence[ScoreRow]
) -> dict[ProcessKey, UUID]:
    """Write score rows, those that are there already left out; returns the newest of each process.

    Raises:
        DayMissing: a day of one of them has no partition.
    """
    new_id = identifier(str(work.tenant_id), work.agent_id)
    versions = msgspec.json.encode({"engine": ENGINE_VERSION, "rules": engine.rules.version}).decode()
    newest: dict[ProcessKey, UUID] = {}
    values = []
    for row in rows:
        score_id = UUID(bytes=new_id(row.occurred_us // 1000, f"score:{row.position}:{key_text(row.key)}"))
        newest[row.key] = score_id
        values.append(score_values((work.tenant_no, work.agent_no, work.agent_id), row, score_id, versions))
    if values:
        try:
            await store.add_scores(tx, values)
        except asyncpg.CheckViolationError as error:
            raise DayMissing(min(at.date() for _, at, *_ in values)) from error
    return newest


def score_values(
    agent: tuple[int, int, str], row: ScoreRow, score_id: UUID, versions: str
) -> tuple[Any, ...]:
    """Return the columns of a score row of an agent (its tenant's number, its own, its id), in order."""
    tenant_no, agent_no, agent_id = agent
    return (
        score_id,
        from_microseconds(row.occurred_us),
        tenant_no,
        agent_no,
        row.position,
        row.key.pid,
        row.risk,
        row.tree_risk,
        row.risk_score,
        row.anomaly_score,
        key_text(row.key),
        key_text(row.root),
        process_id(agent_id, row.key),
        row.band,
        list(row.reasons),
        msgspec.json.encode(row.evidence).decode(),
        versions,
    )


def _process_values(work: Backlog, item: Dirty, score_id: UUID | None) -> tuple[Any, ...]:
    s = item.summary
    # The numbers of a tree stand with its root alone: a child is not written when they change.
    tree_risk, tree_band = (s.tree_risk, s.tree_band) if item.key == s.root else (0, "low")
    return (
        work.tenant_no,
        work.agent_no,
        key_text(item.key),
        process_id(work.agent_id, item.key),
        item.key.pid,
        from_microseconds(s.started_us),
        from_microseconds(s.last_us),
        None if s.exited_us is None else from_microseconds(s.exited_us),
        s.first_position,
        s.last_position,
        s.calls,
        s.other_events,
        s.risk,
        tree_risk,
        s.risk_score,
        s.anomaly_score,
        s.band,
        tree_band,
        s.exe,
        s.comm,
        None if s.parent is None else key_text(s.parent),
        key_text(s.root),
        s.alphabet,
        s.profile_version,
        score_id,
        s.hot,
    )


def _input_values(work: Backlog, inputs: Sequence[Input]) -> Iterable[tuple[Any, ...]]:
    counts: dict[int, int] = {}
    for item in inputs:
        n = counts.get(item.position, 0)
        counts[item.position] = n + 1
        key = None if item.key is None else key_text(item.key)
        data = msgspec.json.encode(item.data).decode()
        yield (work.tenant_no, work.agent_no, item.position, n, key, item.kind, data)


def _hit_values(hits: Mapping[tuple[str, int], tuple[int, int]]) -> Iterable[tuple[Any, ...]]:
    for (rule_id, day), (count, added) in sorted(hits.items()):
        yield rule_id, EPOCH + timedelta(days=day), count, added
