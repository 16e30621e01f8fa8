"""A score computed anew from the stored events, to show that the same events give the same number."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.explain import explain
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.summary import Summary, summarise
from guardhouse.events import read as events_read
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.scores import find, queries, store
from guardhouse.scores.answers.load import load_answers, newest_version
from guardhouse.scores.baselines.history import ProfileHistory
from guardhouse.scores.baselines.store import newest_version as newest_profiles
from guardhouse.scores.process_key import key_of
from guardhouse.scores.queries import ProcessRow
from guardhouse.scores.rules import store as rule_store
from guardhouse.scores.rules.rule_sets import RuleSets, Taken, newest

Mode = Literal["verify", "current"]
MAX_EVENTS: Final = 100_000
CHUNK: Final = 5000


class EventsExpired(Problem):
    """Events that the score rests on are beyond retention."""

    status, code, title = 410, "events_expired", "Events expired"
    remediation = "Only agents whose events are all still stored can be recalculated."


class TooManyEvents(Problem):
    """More than 100,000 events would have to be read."""

    status, code, title = 422, "too_many_events", "Too many events"
    remediation = "Recalculate a process of an agent with a shorter history."


@dataclass(frozen=True, slots=True)
class Recalculation:
    """The outcome. ``equal``: the packed state is the stored one to the byte."""

    process_id: str
    mode: Mode
    equal: bool
    events: int
    summary: Summary
    explanation: dict[str, Any]


async def recalculate(tx: Tx, tenant: TenantKey, process_id: str, mode: Mode) -> Recalculation:
    """Replay the agent's events up to where scoring stands and compare the process's state.

    Raises:
        NotFound: there is no such process.
        EventsExpired: the agent's history is not complete any more.
        TooManyEvents: it is longer than 100,000 events.
    """
    row = await find.get_process(tx, tenant, process_id)
    until, stored = await queries.get_scored(tx, row.agent_no, row.key)
    if until > MAX_EVENTS:
        raise TooManyEvents(f"The agent has {until} events.", limit_events=MAX_EVENTS)
    engine, count = await _replay(tx, tenant, row, until, mode)
    process = engine.instances.states[key_of(row.key)]
    return Recalculation(
        process_id=row.process_id,
        mode=mode,
        equal=stored == engine.pack(process.key),
        events=count,
        summary=summarise(engine.instances, process),
        explanation=explain(engine, process, row.agent_id),
    )


async def _replay(
    tx: Tx, tenant: TenantKey, row: ProcessRow, until: int, mode: Mode
) -> tuple[AgentEngine, int]:
    profiles = ProfileHistory(tenant.no, row.group)
    sets = RuleSets(RuleSet.builtin())
    taken: deque[tuple[int, str, int]] = deque()
    judged: deque[tuple[int, str, int]] = deque()
    engine = AgentEngine(sets.shipped if mode == "verify" else await newest(tx, tenant.no), profiles)
    if mode == "verify":
        taken.extend(await store.list_taken(tx, row.agent_no))
        judged.extend(await rule_store.list_taken(tx, row.agent_no))
    else:
        taken.append((0, store.ANSWERS_TAKEN, await newest_version(tx, tenant.no, row.group)))
        profiles.take(await newest_profiles(tx, tenant.no, row.group))
    count = 0
    async for events in history(tx, row.agent_no, until):
        await profiles.prepare(tx, events)
        for number, event in enumerate(events):
            while judged and judged[0][0] <= event.position:
                engine.use_rules(await sets.get(tx, tenant.no, Taken(*judged.popleft()[1:])))
            while taken and taken[0][0] <= event.position:
                _, kind, version = taken.popleft()
                if kind == store.PROFILES_TAKEN:
                    profiles.take(version)
                    await profiles.prepare(tx, events[number:])
                else:
                    engine.judge.answers = await load_answers(tx, tenant.no, row.group, version)
            engine.apply(event)
        count += len(events)
    return engine, count


async def history(tx: Tx, agent_no: int, until: int) -> AsyncIterator[list[RiskEvent]]:
    """Yield all events of an agent up to a position, in order, some at a time.

    Raises:
        EventsExpired: one of them is not stored any more.
    """
    position = 0
    while position < until:
        events = [
            e for e in await events_read.read_after(tx, agent_no, position, CHUNK) if e.position <= until
        ]
        if not events or events[-1].position != position + len(events):  # a gap, at the start or inside
            raise EventsExpired("Earlier events of this agent are not stored any more.")
        yield events
        position = events[-1].position
