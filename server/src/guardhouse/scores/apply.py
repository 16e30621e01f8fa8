"""One scoring step: the next events of an agent go through the engine, exactly once, in position order.

The cursor, the states, the score rows, incidents and notices change in one transaction. A step that is lost
is done again from the same cursor and gives the same bytes.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from prometheus_client import Counter

from guardhouse.analysis.risk.effects import Crossing, Input, RunEnd, ScoreRow
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import PROCESS_GONE_US, ProcessKey, RiskEvent, process_id
from guardhouse.analysis.risk.explain import explain_tree
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.notices.publish import publish_all
from guardhouse.scores import store, write
from guardhouse.scores.answers.load import load_answers
from guardhouse.scores.baselines.history import Kept, ProfileHistory, take_in
from guardhouse.scores.baselines.note_runs import note_runs
from guardhouse.scores.heads.take import Heads, taken_text
from guardhouse.scores.incidents import tell
from guardhouse.scores.incidents.book import Tale
from guardhouse.scores.lookout import Thresholds, open_lookout
from guardhouse.scores.process_key import key_text
from guardhouse.scores.rules import store as rule_store
from guardhouse.scores.rules.rule_sets import RuleSets, Taken, rules_taken
from guardhouse.scores.rules.store import RULES_TAKEN
from guardhouse.scores.store import Backlog, Cursor
from guardhouse.scores.write import cools_at

STEP_EVENTS: Final = 1000
MAX_ENGINES: Final = 2048
MAX_LIVE: Final = 200_000

EVENTS: Final = Counter("guardhouse_scored_events_total", "Events that went through the risk engine.")
SCORES: Final = Counter("guardhouse_scores_computed_total", "Score rows written.")
CROSSINGS: Final = Counter(
    "guardhouse_risk_band_crossings_total",
    "What became of process trees above the low band.",
    ["band", "direction"],
)


class CursorMoved(Exception):  # noqa: N818 - tells the lane to forget what it has in memory
    """Another worker has scored this agent; the step is lost and must not be written."""


@dataclass(slots=True)
class Engines:
    """Engines of the agents scored lately, least recent first. Forgetting one costs a reload, never a result."""

    rules: RuleSet
    kept: Kept = field(default_factory=Kept)
    _held: OrderedDict[int, tuple[AgentEngine, ProfileHistory]] = field(default_factory=OrderedDict)
    sets: RuleSets = field(init=False)
    thresholds: Thresholds = field(default_factory=Thresholds)
    heads: Heads = field(default_factory=Heads)

    def __post_init__(self) -> None:
        self.sets = RuleSets(self.rules)

    async def rules_of(self, tx: Tx, work: Backlog) -> RuleSet:
        """Return the rules that an agent's next events are judged by."""
        return await self.sets.get(tx, work.tenant_no, self.wanted(work))

    def wanted(self, work: Backlog) -> Taken:
        """Return the versions of those rules."""
        return Taken(self.rules.version, work.rules_version)

    async def get(self, tx: Tx, work: Backlog, cursor: Cursor | None) -> tuple[AgentEngine, ProfileHistory]:
        """Return the engine of an agent as of its cursor, loaded when it is not in memory."""
        held = self._held.get(work.agent_no)
        at = cursor.position if cursor is not None else 0
        if held is None or max(held[0].position, 0) != at or held[1].group != work.group:
            profiles = ProfileHistory(work.tenant_no, work.group, self.kept)
            rules = await self.sets.get(tx, work.tenant_no, rules_taken(cursor))
            engine = await load_engine(tx, (rules, self.heads), profiles, work, cursor)
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
        DayMissing: a day of a score row has no partition.
    """
    cursor = await store.get_cursor(tx, work.agent_no)
    engine, profiles = await engines.get(tx, work, cursor)
    position = cursor.position if cursor is not None else 0
    events = await events_read.read_after(tx, work.agent_no, position, STEP_EVENTS)
    await _load_needed(tx, engine, profiles, work.agent_no, events)
    rows: list[ScoreRow] = []
    tales: list[Tale] = []
    inputs: list[Input] = []
    runs: list[RunEnd] = []
    before = rules_taken(cursor)
    taken: Taken | None = engines.wanted(work) if events else before
    if events:
        inputs += await _take_newest(tx, (engine, profiles), engines.heads, work, events[0].position)
        await profiles.prepare(tx, events)
    if taken is not None and taken != before:
        engine.use_rules(await engines.rules_of(tx, work))
        inputs.append(Input(None, events[0].position, RULES_TAKEN, taken._asdict()))
    lookout = await open_lookout(tx, engines.thresholds, work, cursor)
    for event in events:
        effects = engine.apply(event)
        lookout.look(engine, event)
        if effects is not None:
            rows += effects.rows
            inputs += effects.inputs
            runs += effects.runs
            tales += [_tale(engine, work, crossing) for crossing in effects.crossings]
    reached = events[-1].position if events else work.last  # events beyond retention leave holes
    engine.position = reached
    if cursor is not None and cursor.swept_at is not None:
        engine.scorer.soil_hot()  # what was shown of them beyond the events gives way to what the events say
    shipped, rules_version = taken or (None, None)
    moved = Cursor(
        reached,
        profiles.current,
        engine.judge.answers.version,
        engine.pack_agent(),
        shipped,
        rules_version,
        clock_at=from_microseconds(engine.clock_us),
        heard_at=work.seen_at,
        cools_at=cools_at(engine),
        loss_told_at=lookout.loss_told_at,
        heads=taken_text(engine.heads),
    )
    if tales:
        await tell.take_turn(tx, TenantKey(work.tenant_id, work.tenant_no), work.agent_no)
    # The cursor first: a second worker on this agent waits here and then finds it moved, before either of them
    # holds rows that the other one wants.
    if not await store.move_cursor(tx, work.tenant_no, work.agent_no, position, moved):
        raise CursorMoved
    if taken is not None and (before is None or before.shipped != taken.shipped):
        await rule_store.keep_shipped(tx, work.tenant_no, taken.shipped, engines.rules.pack())
    await write.save(tx, engine, work, rows, inputs)
    await note_runs(tx, work.tenant_no, work.agent_no, runs)
    await lookout.save(tx)
    await publish_all(tx, [*lookout.drafts, *(await tell.settle(tx, work, tales) if tales else ())])
    engine.evict(engine.clock_us, MAX_LIVE)
    EVENTS.inc(len(events))
    SCORES.inc(len(rows))
    return reached


async def _take_newest(
    tx: Tx, held: tuple[AgentEngine, ProfileHistory], heads: Heads, work: Backlog, position: int
) -> list[Input]:
    """Go on with the newest baselines, answers and heads from a position on, which is kept for a replay."""
    engine, profiles = held
    taken = []
    if profiles.current != work.profile_version:
        profiles.take(work.profile_version)
        taken.append(Input(None, position, store.PROFILES_TAKEN, {"version": profiles.current}))
    if engine.judge.answers.version != work.answers_version:
        answers = await load_answers(tx, work.tenant_no, work.group, work.answers_version)
        engine.judge.answers = answers
        taken.append(Input(None, position, store.ANSWERS_TAKEN, {"version": answers.version}))
    if taken_text(engine.heads) != work.heads:
        engine.heads = await heads.get(tx, work.tenant_no, work.heads)
        taken.append(Input(None, position, store.HEADS_TAKEN, {"heads": work.heads}))
    return taken


async def load_engine(
    tx: Tx, shelf: tuple[RuleSet, Heads], profiles: ProfileHistory, work: Backlog, cursor: Cursor | None
) -> AgentEngine:
    """Return an engine with everything of an agent that may still matter."""
    rules, heads = shelf
    agent_no = work.agent_no
    engine = AgentEngine(rules, profiles)
    if cursor is None:
        return engine
    engine.heads = await heads.get(tx, work.tenant_no, cursor.heads)
    profiles.take(cursor.profile_version)
    engine.load_agent(cursor.state)
    gone_before = from_microseconds(max(0, engine.clock_us)) - timedelta(microseconds=PROCESS_GONE_US)
    for packed in await store.load_live(tx, agent_no, gone_before):
        await take_in(tx, engine, profiles, packed)
    engine.instances.partial = True
    await _load(tx, engine, profiles, agent_no, _relatives(engine))
    return engine


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


def _tale(engine: AgentEngine, work: Backlog, crossing: Crossing) -> Tale:
    """Return a crossing with how things stand just now."""
    CROSSINGS.labels(crossing.band, crossing.direction).inc()
    tree_id, own_id = (process_id(work.agent_id, key) for key in (crossing.root, crossing.process))
    if crossing.direction in {"down", "quiet"}:
        return Tale(crossing, tree_id, own_id)
    states = engine.instances.states
    explained = explain_tree(engine, states[crossing.root], work.agent_id, crossing.occurred_us)
    return Tale(
        crossing,
        tree_id,
        own_id,
        states[crossing.process].risk_score,
        explained["contributions"],
        explained["versions"],
    )
