"""Learning on request: what a group of agents has done so far becomes the baseline of its programs.

Everything stored of the group is learned anew into the next version; a version never changes once written,
and processes keep the one they were bound to.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guardhouse.agents import enroll_host
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.learn import Run, RunCollector, learn
from guardhouse.analysis.risk.profile import ProfileSet
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import Clock, microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, Problem
from guardhouse.scores import queries, store
from guardhouse.scores.queries import LearnedProfiles
from guardhouse.scores.recalculations.replay import events_after
from guardhouse.scores.rules.rule_sets import newest

MAX_EVENTS: Final = 100_000


class TooManyEvents(Problem):
    """More than 100,000 events would have to be read."""

    status, code, title = 422, "too_many_events", "Too many events"
    remediation = "Learn from a group with a shorter history."


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who asked for it and when: both are kept with the version."""

    name: str
    clock: Clock


async def learn_profiles(
    tx: Tx, tenant: TenantKey, agent_id: str, until: datetime | None, teacher: Teacher
) -> LearnedProfiles:
    """Learn the group of an agent from all its stored events up to an instant; returns the new version.

    Raises:
        NotFound: there is no such agent.
        EventsExpired: the history of an agent of the group is not complete any more.
        TooManyEvents: the group has more than 100,000 events.
        Conflict: there is nothing to learn from.
    """
    agent = await enroll_host.get_host(tx, tenant, agent_id)
    group = str(agent.metadata.get("group") or agent.id)
    agents = await queries.list_group(tx, tenant.no, group)
    if sum(last for _, last in agents) > MAX_EVENTS:
        raise TooManyEvents("The group has more events than can be learned at once.", limit_events=MAX_EVENTS)
    runs: list[Run] = []
    rules = await newest(tx, tenant.no)
    for agent_no, last in agents:
        runs += await _runs(tx, (agent_no, last), until, rules)
    if not runs:
        raise Conflict("There is nothing to learn from: no program of this group has been seen.")
    version = 1 + (await queries.newest_version(tx, tenant.no, group) or 0)
    made = await asyncio.to_thread(learn, None, runs, group, version)
    return await _keep(tx, tenant, made, len(runs), teacher)


async def _runs(tx: Tx, agent: tuple[int, int], until: datetime | None, rules: RuleSet) -> list[Run]:
    agent_no, last = agent
    collector = RunCollector(AgentEngine(rules), str(agent_no))
    edge = None if until is None else microseconds(until)
    position = 0
    while events := await events_after(tx, agent_no, position, last):
        for event in events:
            if edge is not None and event.occurred_us >= edge:
                return collector.finish()
            collector.observe(event)
        position = events[-1].position
        await asyncio.sleep(0)  # a long replay must not hold up other requests
    return collector.finish()


async def _keep(tx: Tx, tenant: TenantKey, made: ProfileSet, runs: int, teacher: Teacher) -> LearnedProfiles:
    learned = LearnedProfiles(
        group=made.group,
        version=made.version,
        learned_at=teacher.clock.now(),
        learned_by=teacher.name,
        programs=len(made.baselines),
        runs=runs,
        calls=sum(baseline.calls for baseline in made.baselines.values()),
    )
    await store.add_profiles(
        tx,
        (
            tenant.no,
            learned.group,
            learned.version,
            learned.learned_at,
            learned.learned_by,
            learned.programs,
            learned.runs,
            learned.calls,
            made.pack(),
        ),
    )
    return learned
