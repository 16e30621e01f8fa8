"""Run the tests a rule carries: event lists that must hit and event lists of ordinary work that must not."""

from collections.abc import Iterator

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.profile import Profiles
from guardhouse.analysis.risk.rules import Rule, RuleSet
from guardhouse.analysis.risk.short_events import expand_events

__all__ = ["expand_events", "failures", "hits_of"]


def hits_of(rules: RuleSet, events: Iterator[RiskEvent], profiles: Profiles | None = None) -> dict[str, int]:
    """Evidence ids that the events leave on their processes' own account, with the largest weight seen."""
    engine = AgentEngine(rules, profiles)
    for event in events:
        engine.apply(event)
    hits: dict[str, int] = {}
    for process in engine.instances.states.values():
        for slot in process.slots or ():
            if slot.own > 0 or not slot.inherited:
                hits[slot.id] = max(hits.get(slot.id, 0), slot.weight)
    return hits


def failures(rule: Rule, rules: RuleSet) -> list[tuple[int, str]]:
    """The tests of a rule that do not come out as they say: which, and what happened; empty when all do."""
    out = []
    for number, test in enumerate(rule.tests):
        hit = rule.evidence_id in hits_of(rules, expand_events(test["events"]))
        if hit is not test["hits"]:
            name = test.get("name", f"test {number}")
            out.append((number, f"{name}: {'hit' if hit else 'no hit'}"))
    return out
