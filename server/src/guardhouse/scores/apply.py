"""One scoring step: the next events of an agent go through the engine, exactly once, in position order.

The cursor, the states, the score rows and the notices change in one transaction. A step that is lost is
done again from the same cursor and gives the same bytes.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from prometheus_client import Counter

from guardhouse.analysis.risk.effects import Crossing, Input, RunEnd, ScoreRow
from guardhouse.analysis.risk.engine import ENGINE_VERSION, AgentEngine
from guardhouse.analysis.risk.event import PROCESS_GONE_US, ProcessKey, RiskEvent, process_id
from guardhouse.analysis.risk.explain import explain_tree
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.summary import Dirty
from guardhouse.events import read as events_read
from guardhouse.events.identify import identifier
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import Tx
from guardhouse.notices.publish import Draft, publish_all
from guardhouse.notices.risk_kinds import Band, Contribution, RiskBandCrossed
from guardhouse.scores import store
from guardhouse.scores.answers.load import load_answers
from guardhouse.scores.baselines.history import BaselineMissing, Kept, ProfileHistory
from guardhouse.scores.baselines.note_runs import note_runs
from guardhouse.scores.process_key import key_text
from guardhouse.scores.store import Backlog, Cursor

STEP_EVENTS: Final = 1000
MAX_ENGINES: Final = 2048
MAX_LIVE: Final = 200_000
NOTICE_REASONS: Final = 5

_BANDS: Final[dict[str, Band]] = {"low": "low", "medium": "medium", "high": "high"}

EVENTS: Final = Counter("guardhouse_scored_events_total", "Events that went through the risk engine.")
SCORES: Final = Counter("guardhouse_scores_computed_total", "Score rows written.")
CROSSINGS: Final = Counter(
    "guardhouse_risk_band_crossings_total", "Process trees that changed their band.", ["band", "direction"]
)


class CursorMoved(Exception):  # noqa: N818 - tells the lane to forget what it has in memory
    """Another worker has scored this agent; the step is lost and must not be written."""


class DayMissing(Exception):  # noqa: N818 - tells the lane to make the partition
    """A day of a score row has no partition; the step is lost."""

    def __init__(self, day: date) -> None:
        super().__init__(day)
        self.day = day


@dataclass(slots=True)
class Engines:
    """Engines of the agents scored lately, least recent first. Forgetting one costs a reload, never a result."""

    rules: RuleSet
    kept: Kept = field(default_factory=Kept)
    _held: OrderedDict[int, tuple[AgentEngine, ProfileHistory]] = field(default_factory=OrderedDict)

    async def get(self, tx: Tx, work: Backlog, cursor: Cursor | None) -> tuple[AgentEngine, ProfileHistory]:
        """Return the engine of an agent as of its cursor, loaded when it is not in memory."""
        held = self._held.get(work.agent_no)
        at = cursor.position if cursor is not None else 0
        if held is None or max(held[0].position, 0) != at or held[1].group != work.group:
            profiles = ProfileHistory(work.tenant_no, work.group, self.kept)
            engine = await load_engine(tx, self.rules, profiles, work.agent_no, cursor)
            if cursor is not None:
                engine.judge.answers = await load_answers(
                    tx, work.tenant_no, work.group, cursor.answers_version
                )
            held = (engine, profiles)
        self._held[work.agent_no] = held
        self._held.move_to_end(work.agent_no)
        self._trim()
        return held

    def _trim(self) -> None:
        """Forget the engines used least recently: past 2,048, or past 200,000 processes of all together."""
        live = sum(len(engine.instances.states) for engine, _ in self._held.values())
        while len(self._held) > MAX_ENGINES or (live > MAX_LIVE and len(self._held) > 1):
            _, (engine, _) = self._held.popitem(last=False)
            live -= len(engine.instances.states)

    def forget(self, agent_no: int) -> None:
        """Drop an engine whose step was not committed."""
        self._held.pop(agent_no, None)


async def apply_step(tx: Tx, engines: Engines, work: Backlog) -> int:
    """Score the next events of one agent, at most 1,000; returns the position reached.

    Raises:
        CursorMoved: the agent was scored elsewhere meanwhile.
    """
    cursor = await store.get_cursor(tx, work.agent_no)
    engine, profiles = await engines.get(tx, work, cursor)
    position = cursor.position if cursor is not None else 0
    events = await events_read.read_after(tx, work.agent_no, position, STEP_EVENTS)
    await _load_needed(tx, engine, profiles, work.agent_no, events)
    rows: list[ScoreRow] = []
    drafts: list[Draft] = []
    inputs: list[Input] = []
    runs: list[RunEnd] = []
    if events:
        inputs += await _take_newest(tx, engine, profiles, work, events[0].position)
        await profiles.prepare(tx, events)
    for event in events:
        effects = engine.apply(event)
        if effects is not None:
            rows += effects.rows
            inputs += effects.inputs
            runs += effects.runs
            drafts += [d for c in effects.crossings if (d := _notice(engine, work, c)) is not None]
    reached = events[-1].position if events else work.last  # events beyond retention leave holes
    engine.position = reached
    moved = Cursor(reached, profiles.current, engine.judge.answers.version, engine.pack_agent())
    # The cursor first: a second worker on this agent waits here and then finds it moved, before either of them
    # holds rows that the other one wants.
    if not await store.move_cursor(tx, work.tenant_no, work.agent_no, position, moved):
        raise CursorMoved
    await _save(tx, engine, work, rows, inputs)
    await note_runs(tx, work.tenant_no, work.agent_no, runs)
    await publish_all(tx, drafts)
    engine.evict(engine.clock_us, MAX_LIVE)
    EVENTS.inc(len(events))
    SCORES.inc(len(rows))
    return reached


async def _take_newest(
    tx: Tx, engine: AgentEngine, profiles: ProfileHistory, work: Backlog, position: int
) -> list[Input]:
    """Go on with the group's newest baselines and answers from a position on, which is kept for a replay."""
    taken = []
    if profiles.current != work.profile_version:
        profiles.take(work.profile_version)
        taken.append(Input(None, position, store.PROFILES_TAKEN, {"version": profiles.current}))
    if engine.judge.answers.version != work.answers_version:
        answers = await load_answers(tx, work.tenant_no, work.group, work.answers_version)
        engine.judge.answers = answers
        taken.append(Input(None, position, store.ANSWERS_TAKEN, {"version": answers.version}))
    return taken


async def load_engine(
    tx: Tx, rules: RuleSet, profiles: ProfileHistory, agent_no: int, cursor: Cursor | None
) -> AgentEngine:
    """Return an engine with everything of an agent that may still matter."""
    engine = AgentEngine(rules, profiles)
    if cursor is None:
        return engine
    profiles.take(cursor.profile_version)
    engine.load_agent(cursor.state)
    gone_before = from_microseconds(max(0, engine.clock_us)) - timedelta(microseconds=PROCESS_GONE_US)
    for packed in await store.load_live(tx, agent_no, gone_before):
        await take_in(tx, engine, profiles, packed)
    engine.instances.partial = True
    await _load(tx, engine, profiles, agent_no, _relatives(engine))
    return engine


async def take_in(tx: Tx, engine: AgentEngine, profiles: ProfileHistory, packed: bytes) -> None:
    """Load a stored process into an engine, with the baseline that it is bound to."""
    while True:
        try:
            engine.load_process(packed)
        except BaselineMissing as missing:
            await profiles.fetch(tx, missing)
        else:
            return


def _relatives(engine: AgentEngine) -> list[ProcessKey]:
    states = engine.instances.states
    wanted = {key for process in states.values() for key in (process.parent, process.root) if key is not None}
    return sorted(wanted - states.keys())


async def _load(
    tx: Tx, engine: AgentEngine, profiles: ProfileHistory, agent_no: int, keys: list[ProcessKey]
) -> None:
    tried: set[ProcessKey] = set()
    while keys:
        tried.update(keys)
        for packed in await store.load_states(tx, agent_no, [key_text(key) for key in keys]):
            await take_in(tx, engine, profiles, packed)
        keys = [key for key in _relatives(engine) if key not in tried]


async def _load_needed(
    tx: Tx, engine: AgentEngine, profiles: ProfileHistory, agent_no: int, events: list[RiskEvent]
) -> None:
    tried: set[ProcessKey] = set()
    while keys := [key for key in engine.needed_keys(events) if key not in tried]:
        tried.update(keys)
        for packed in await store.load_states(tx, agent_no, [key_text(key) for key in keys]):
            await take_in(tx, engine, profiles, packed)


async def _save(
    tx: Tx, engine: AgentEngine, work: Backlog, rows: list[ScoreRow], inputs: list[Input]
) -> None:
    new_id = identifier(str(work.tenant_id), work.agent_id)
    versions = msgspec.json.encode({"engine": ENGINE_VERSION, "rules": engine.rules.version}).decode()
    newest: dict[ProcessKey, UUID] = {}
    values = []
    for row in rows:
        score_id = UUID(bytes=new_id(row.occurred_us // 1000, f"score:{row.position}:{key_text(row.key)}"))
        newest[row.key] = score_id
        values.append(_score_values(work, row, score_id, versions))
    if values:
        try:
            await store.add_scores(tx, values)
        except asyncpg.CheckViolationError as error:
            raise DayMissing(min(at.date() for _, at, *_ in values)) from error
    dirty = engine.take_dirty()
    if dirty:
        await store.save_processes(
            tx,
            [_process_values(work, item, newest.get(item.key)) for item in dirty],
            [item.packed for item in dirty],
        )
    if inputs:
        await store.add_inputs(tx, list(_input_values(work, inputs)))


def _score_values(work: Backlog, row: ScoreRow, score_id: UUID, versions: str) -> tuple[Any, ...]:
    return (
        score_id,
        from_microseconds(row.occurred_us),
        work.tenant_no,
        work.agent_no,
        row.position,
        row.key.pid,
        row.risk,
        row.tree_risk,
        row.risk_score,
        row.anomaly_score,
        key_text(row.key),
        key_text(row.root),
        process_id(work.agent_id, row.key),
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
    )


def _input_values(work: Backlog, inputs: list[Input]) -> Iterable[tuple[Any, ...]]:
    counts: dict[int, int] = {}
    for item in inputs:
        n = counts.get(item.position, 0)
        counts[item.position] = n + 1
        key = None if item.key is None else key_text(item.key)
        data = msgspec.json.encode(item.data).decode()
        yield (work.tenant_no, work.agent_no, item.position, n, key, item.kind, data)


def _notice(engine: AgentEngine, work: Backlog, crossing: Crossing) -> Draft | None:
    CROSSINGS.labels(crossing.band, crossing.direction).inc()
    if crossing.direction == "down":
        return None
    root = engine.instances.states[crossing.root]
    process = engine.instances.states[crossing.process]
    explained = explain_tree(engine, root, work.agent_id, crossing.occurred_us)
    data = RiskBandCrossed(
        incident_id=None,
        process_id=process_id(work.agent_id, crossing.process),
        tree_id=process_id(work.agent_id, crossing.root),
        agent_id=work.agent_id,
        risk=crossing.risk / 100,
        band=_band(crossing.band),
        previous_band=_band(crossing.previous_band),
        risk_score=process.risk_score / 100,
        contributions=tuple(
            Contribution(id=part["id"], points=part["points"], why=part["why"])
            for part in explained["contributions"][:NOTICE_REASONS]
        ),
        versions={"engine": ENGINE_VERSION, "rules": engine.rules.version},
    )
    return Draft(data, work.tenant_id, crossing.position)


def _band(name: str) -> Band:
    return _BANDS[name]
