"""Run the tests a rule carries: event lists that must hit and event lists of ordinary work that must not.

A test's events are short: unless said otherwise `pid` is 100, its parent the init process, events are one
millisecond apart (`at` sets seconds), and `repeat = n` repeats an event with `{n}` in its strings.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.profile import Profiles
from guardhouse.analysis.risk.rules import Rule, RuleSet

EPOCH_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
_DIRECT: Final = (
    "tid", "ppid", "start", "exe", "comm", "call", "ret", "errno", "child_pid", "child_start", "code",
    "alphabet", "extra",
)  # fmt: skip


def _numbered(value: Any, number: int) -> Any:
    if value == "{n}":
        return number
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, Mapping):
        return {key: _numbered(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbered(item, number) for item in value]
    return value


def expand_events(short: list[dict[str, Any]]) -> Iterator[RiskEvent]:
    """The full events of a test, in position order, ids counted up."""
    position = 0
    for raw in short:
        for number in range(int(raw.get("repeat", 1))):
            item = _numbered(raw, number)
            position += 1
            at_us = int(item["at"] * 1_000_000) if "at" in item else position * 1000
            args = item.get("args")
            yield RiskEvent(
                position=position,
                event_id=position.to_bytes(16, "big"),
                occurred_us=EPOCH_US + at_us,
                kind=item.get("kind", "call"),
                pid=item.get("pid", 100),
                boot_id="test",
                args=args,
                names=tuple(item["names"]) if "names" in item else None,
                **{name: item[name] for name in _DIRECT if name in item},
            )


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


def failures(rule: Rule, rules: RuleSet) -> list[str]:
    """The names of a rule's tests that do not come out as they say, empty when all do."""
    out = []
    for number, test in enumerate(rule.tests):
        hit = rule.evidence_id in hits_of(rules, expand_events(test["events"]))
        if hit is not test["hits"]:
            name = test.get("name", f"test {number}")
            out.append(f"{rule.id}: {name}: {'hit' if hit else 'no hit'}")
    return out
