"""Try out a change of the rules on days that are stored, before it is saved.

Every event of the span is judged twice, by the rules in force and with the change. Both begin with nothing known, so
what happened before the span is not there; the difference between the two is what the change does.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from guardhouse.agents import enroll_host
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import process_id
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tailor import ACTIVE, Override, OwnRule, overridden, own_rule
from guardhouse.audit.record import Entry, record
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import Clock, from_microseconds, microseconds, rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller
from guardhouse.scores.answers.load import load_answers, newest_version
from guardhouse.scores.baselines.history import ProfileHistory
from guardhouse.scores.baselines.store import newest_version as newest_profiles
from guardhouse.scores.previews import store
from guardhouse.scores.previews.compare import Difference, Episode, Way, differences
from guardhouse.scores.previews.store import Preview, Watched
from guardhouse.scores.rules import rule_sets
from guardhouse.scores.rules import store as rule_store
from guardhouse.scores.rules.change_rule import AS_SHIPPED, Change, check_override, override_after
from guardhouse.scores.rules.save_rule import rule_source, tried
from guardhouse.scores.rules.store import OverrideEntry

MAX_AGENTS: Final = 500
MAX_EVENTS: Final = 500_000
MAX_RUNNING: Final = 3
MAX_LISTED: Final = 100
CHUNK: Final = 1000


class OpenTx(Protocol):
    """Opens a short transaction of its own."""

    def __call__(self) -> Any:
        """Return the block."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to try out: a rule by its id, or an override of one; over how many days, of which agent (None = all)."""

    days: int
    agent_id: str | None = None
    rule: Mapping[str, Any] | None = None
    override: Mapping[str, Any] | None = None


async def begin(tx: Tx, caller: Caller, asked: Asked, clock: Clock) -> Preview:
    """Judge a change and write it down; the job that tries it out is the caller's to enqueue.

    Raises:
        RuleInvalid: the change could not be saved either.
        NotFound: there is no such rule, or no such agent.
        Conflict: three previews of the tenant are running.
    """
    if await store.count_running(tx, caller.tenant.no) >= MAX_RUNNING:
        raise Conflict(f"{MAX_RUNNING} previews are running; wait for one of them.")
    if asked.agent_id is not None:
        await enroll_host.get_host(tx, caller.tenant, asked.agent_id)
    change: dict[str, Any] = {"agent_id": asked.agent_id, "days": asked.days}
    if asked.rule is not None:
        source = rule_source(str(asked.rule.get("id", "")), asked.rule)
        await tried(source, 1, ACTIVE, RuleSet.builtin())
        change["rule"] = source
    else:
        change["override"] = await _checked(tx, caller.tenant.no, asked.override or {})
    now = clock.now()
    made = Preview(
        new_id(), caller.tenant.no, change, now - timedelta(days=asked.days), now, "running", None, now,
        caller.actor.name, None,
    )  # fmt: skip
    await store.add(tx, made)
    told = {"days": asked.days, "agent_id": asked.agent_id, "rule_id": _rule_id(change)}
    await record(tx, caller.actor, Entry("score.preview", f"preview:{made.id}", after=told))
    return made


async def get(tx: Tx, tenant_no: int, preview_id: UUID) -> Preview:
    """Return a preview.

    Raises:
        NotFound: the tenant has none such.
    """
    found = await store.get(tx, tenant_no, preview_id)
    if found is None:
        raise NotFound("There is no such preview.")
    return found


async def run(preview: Preview, opened: OpenTx) -> dict[str, Any]:
    """Judge the span both ways, agent by agent, at most half a million events; returns the result."""
    tenant_no = preview.tenant_no
    async with opened() as tx:
        before = await rule_sets.newest(tx, tenant_no)
        agents = await store.list_watched(tx, tenant_no, preview.asked["agent_id"], MAX_AGENTS + 1)
    ways = before, changed(before, preview.asked)
    found: list[tuple[Watched, Difference]] = []
    left, done = MAX_EVENTS, 0
    for agent in agents[:MAX_AGENTS]:
        if left <= 0:
            break
        pair, count = await _judge(preview, agent, ways, opened, left)
        left -= count
        done += 1
        found += [(agent, one) for one in differences(*pair)]
        await asyncio.sleep(0)
    return {
        "rules": before.version,
        "agents": done,
        "events": MAX_EVENTS - left,
        "complete": left > 0 and done == len(agents),
        "incidents_before": sum(one.before is not None for _, one in found),
        "incidents_after": sum(one.after is not None for _, one in found),
        **{
            kind: _listed(found, kind) for kind in ("appear", "vanish", "change")
        },
    }  # fmt: skip


def _rule_id(change: Mapping[str, Any]) -> str:
    return str(change["rule"]["id"] if "rule" in change else change["override"]["rule_id"])


def changed(rules: RuleSet, asked: Mapping[str, Any]) -> RuleSet:
    """Return rules with the change that is tried out; a rule counts at once."""
    base = RuleSet.builtin()
    if "rule" in asked:
        new = own_rule(OwnRule(asked["rule"], 1, ACTIVE), base)
    else:
        wanted = asked["override"]
        change = Override(wanted["enabled"], wanted["weight"], tuple(wanted["except"]))
        new = overridden(base.by_id[wanted["rule_id"]], change, base)
    others = [rule for rule in rules.rules if rule.id != new.id]
    return RuleSet([*others, new], rules.lists, f"{rules.version}+preview")


async def _checked(tx: Tx, tenant_no: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an override as it would be after the change asked for."""
    rule_id = str(given.get("rule_id", ""))
    if rule_id not in RuleSet.builtin().by_id:
        raise NotFound("There is no such rule of the product.")
    stored = await rule_store.get_set(tx, tenant_no)
    members = {name: value for name, value in given.items() if name != "rule_id"}
    after: OverrideEntry = override_after(stored.content.overrides.get(rule_id, AS_SHIPPED), Change(members))
    check_override(rule_id, after, "/override")
    return {"rule_id": rule_id, "enabled": after.enabled, "weight": after.weight, "except": after.excepts}


async def _judge(
    preview: Preview, agent: Watched, ways: tuple[RuleSet, RuleSet], opened: OpenTx, most: int
) -> tuple[tuple[Way, Way], int]:
    async with opened() as tx:
        profiles = ProfileHistory(preview.tenant_no, agent.group)
        profiles.take(await newest_profiles(tx, preview.tenant_no, agent.group))
        version = await newest_version(tx, preview.tenant_no, agent.group)
        answers = await load_answers(tx, preview.tenant_no, agent.group, version)
        position = await events_read.position_before(tx, agent.agent_no, preview.since, preview.until)
    engines = AgentEngine(ways[0], profiles), AgentEngine(ways[1], profiles)
    for engine in engines:
        engine.judge.answers = answers
    pair = Way(engines[0]), Way(engines[1])
    since_us, until_us = microseconds(preview.since), microseconds(preview.until)
    count = 0
    while position is not None and count < most:
        async with opened() as tx:
            events = await events_read.read_after(tx, agent.agent_no, position, min(CHUNK, most - count))
            await profiles.prepare(tx, events)
        for event in events:
            if since_us <= event.occurred_us < until_us:
                pair[0].apply(event)
                pair[1].apply(event)
        count += len(events)
        position = events[-1].position if events else None
        await asyncio.sleep(0)  # others have their turn
    for way in pair:
        way.end(until_us)
    return pair, count


def _listed(found: list[tuple[Watched, Difference]], kind: str) -> dict[str, Any]:
    """Return how many incidents differ in one way, and the first hundred of them."""
    those = [(agent, one) for agent, one in found if one.kind == kind]
    return {"count": len(those), "incidents": [_incident(agent, one) for agent, one in those[:MAX_LISTED]]}


def _incident(agent: Watched, one: Difference) -> dict[str, Any]:
    shown = one.after or one.before
    assert shown is not None  # noqa: S101 - a difference has one side at least
    return {
        "agent_id": agent.agent_id,
        "tree_id": process_id(agent.agent_id, shown.root),
        "process_id": process_id(agent.agent_id, shown.process),
        "exe": shown.exe,
        "began_at": rfc3339(from_microseconds(shown.began_us)),
        "before": _side(one.before),
        "after": _side(one.after),
    }


def _side(episode: Episode | None) -> dict[str, Any] | None:
    if episode is None:
        return None
    return {"band": episode.band, "risk": episode.risk / 100, "evidence": episode.evidence}
