"""An agent's past through a fresh engine: with what it used then (`verify`), or with the newest of all (`current`).

Invariant: in `verify` every process ends with the bytes that scoring stored at the same position.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.scores.answers.load import load_answers, newest_version
from guardhouse.scores.baselines.history import ProfileHistory
from guardhouse.scores.baselines.store import newest_version as newest_profiles
from guardhouse.scores.heads.take import Heads, newest_taken
from guardhouse.scores.recalculations import store as asked_store
from guardhouse.scores.recalculations.store import Mode
from guardhouse.scores.rules.rule_sets import RuleSets, Taken, newest
from guardhouse.scores.rules.store import RULES_TAKEN
from guardhouse.scores.store import ANSWERS_TAKEN, HEADS_TAKEN, PROFILES_TAKEN

CHUNK: Final = 5000
TAKEN: Final = (PROFILES_TAKEN, ANSWERS_TAKEN, RULES_TAKEN, HEADS_TAKEN)


class EventsExpired(Problem):
    """Events that the score rests on are beyond retention."""

    status, code, title = 410, "events_expired", "Events expired"
    remediation = (
        "Only agents whose events are all still stored can be recalculated; available_from says since when."
    )


@dataclass(frozen=True, slots=True)
class Past:
    """Whose past: an agent of a tenant and the group that it shares baselines with."""

    tenant: TenantKey
    agent_no: int
    agent_id: str
    group: str


@dataclass(slots=True)
class Replay:
    """A replay on its way: `position` is the last one applied."""

    past: Past
    mode: Mode
    engine: AgentEngine
    profiles: ProfileHistory
    rules: RuleSets
    heads: Heads = field(default_factory=Heads)
    taken: deque[tuple[int, str, dict[str, Any]]] = field(default_factory=deque)
    position: int = 0

    @classmethod
    async def begin(cls, tx: Tx, past: Past, mode: Mode) -> "Replay":
        """Return a replay before its first event."""
        profiles = ProfileHistory(past.tenant.no, past.group)
        rules = RuleSets(RuleSet.builtin())
        if mode == "verify":
            return cls(past, mode, AgentEngine(rules.shipped, profiles), profiles, rules)
        profiles.take(await newest_profiles(tx, past.tenant.no, past.group))
        engine = AgentEngine(await newest(tx, past.tenant.no), profiles)
        version = await newest_version(tx, past.tenant.no, past.group)
        engine.judge.answers = await load_answers(tx, past.tenant.no, past.group, version)
        made = cls(past, mode, engine, profiles, rules)
        engine.heads = await made.heads.get(tx, past.tenant.no, await newest_taken(tx, past.tenant.no))
        return made

    async def go_on(self, tx: Tx, until: int) -> int:
        """Apply the next events up to a position, at most 5,000; returns how many.

        Raises:
            EventsExpired: one of them is not stored any more.
        """
        events = await events_after(tx, self.past.agent_no, self.position, until)
        if self.mode == "verify" and events:
            last = events[-1].position
            self.taken.extend(
                await asked_store.list_taken(tx, self.past.agent_no, TAKEN, self.position, last)
            )
        await self.profiles.prepare(tx, events)
        for number, event in enumerate(events):
            while self.taken and self.taken[0][0] <= event.position:
                _, kind, what = self.taken.popleft()
                await self._take(tx, kind, what)
                await self.profiles.prepare(tx, events[number:])
            self.engine.apply(event)
            self.position = event.position
        return len(events)

    async def _take(self, tx: Tx, kind: str, what: dict[str, Any]) -> None:
        """Go on with what the agent took at this place."""
        if kind == PROFILES_TAKEN:
            self.profiles.take(what["version"])
        elif kind == ANSWERS_TAKEN:
            past = self.past
            self.engine.judge.answers = await load_answers(tx, past.tenant.no, past.group, what["version"])
        elif kind == RULES_TAKEN:
            self.engine.use_rules(await self.rules.get(tx, self.past.tenant.no, Taken(**what)))
        elif kind == HEADS_TAKEN:
            self.engine.heads = await self.heads.get(tx, self.past.tenant.no, what["heads"])


async def events_after(tx: Tx, agent_no: int, position: int, until: int) -> Sequence[RiskEvent]:
    """Return the next events of an agent behind a position, none when there is nothing left up to `until`.

    Raises:
        EventsExpired: they are not all stored any more.
    """
    if position >= until:
        return ()
    events = [e for e in await events_read.read_after(tx, agent_no, position, CHUNK) if e.position <= until]
    if not events or events[-1].position != position + len(events):  # a gap, at the start or inside
        oldest = await events_read.oldest_time(tx, agent_no)
        raise EventsExpired(
            "Earlier events of this agent are not stored any more.",
            available_from=None if oldest is None else rfc3339(oldest),
        )
    return events
