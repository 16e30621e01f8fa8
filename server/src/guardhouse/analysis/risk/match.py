"""Matching: from an event to the rules it completes, with the progress and counts that needs.

Invariants: a call that no rule watches costs one look-up; a path that no rule names costs one more; the
memo of paths never changes a result.
"""

import zlib
from typing import Final, NamedTuple

from guardhouse.analysis.risk.act import EXEC_CALLS, Act
from guardhouse.analysis.risk.evidence import MAX_CITED
from guardhouse.analysis.risk.legacy_score import weight_of
from guardhouse.analysis.risk.observe import OBSERVERS, Observer
from guardhouse.analysis.risk.process import MAX_ITEMS, Process, Tally
from guardhouse.analysis.risk.rules import CALL_GROUPS, MAX_RULES, Rule, RuleSet, Step
from guardhouse.analysis.risk.surprise import call_number

PATH_MEMO_LIMIT: Final = 20_000
MAX_PLANS: Final = 4_096
SKETCH_BITS: Final = 256
_OPENS: Final = frozenset(CALL_GROUPS["@open"])

Watch = tuple[Rule, int, Step]


class CallPlan:
    """All that is fixed about one call name. `loud` calls have something beyond counting to do."""

    __slots__ = (
        "indexed",
        "loud",
        "memo",
        "moves",
        "name",
        "number",
        "observe",
        "opens",
        "plain",
        "reading",
        "weight",
    )

    def __init__(self, name: str, rules: RuleSet) -> None:
        self.name = name
        self.number = call_number(name)
        self.weight = weight_of(name)
        self.observe: Observer | None = OBSERVERS.get(name)
        watches = rules.by_call.get(name, [])
        self.plain: tuple[Watch, ...] = tuple(w for w in watches if not w[2].on_path)
        self.reading = tuple(w for w in self.plain if not w[2].writes_only)
        self.indexed: tuple[Watch, ...] = tuple(w for w in watches if w[2].on_path)
        self.memo: dict[str, tuple[Watch, ...]] = {}
        self.opens = name in _OPENS
        self.moves = (
            True if name in CALL_GROUPS["@rename"] else False if name in CALL_GROUPS["@unlink"] else None
        )
        self.loud = (
            bool(watches)
            or self.observe is not None
            or self.opens
            or self.moves is not None
            or name in EXEC_CALLS
        )

    def candidates(self, path: str, act: Act) -> tuple[Watch, ...]:
        """The indexed steps whose conditions on the path hold, remembered per raw path."""
        found = tuple(
            watch for watch in self.indexed if all(condition.holds(act) for condition in watch[2].on_path)
        )
        if len(self.memo) >= PATH_MEMO_LIMIT:
            self.memo.clear()
        self.memo[path] = found
        return found


class Match(NamedTuple):
    """A completed rule: whose evidence, how many distinct items, which events, and the text's words."""

    rule: Rule
    items: int
    events: tuple[bytes, ...]
    words: dict[str, str]


def advance(rule: Rule, index: int, step: Step, act: Act, owner: Process, now_us: int) -> Match | None:
    """Move a rule on its owner by one matching step; the match when that completes it."""
    event_id = act.event.event_id
    if not (rule.in_order or rule.count or rule.distinct):
        return Match(rule, 0, (event_id,), {"items": "1", "count": "1"})
    tallies = owner.tallies
    if tallies is None:
        tallies = owner.tallies = {}
    tally = tallies.get(rule.tally)
    if tally is None:
        if len(tallies) >= MAX_RULES:  # of rules that are not in force any more
            del tallies[min(tallies, key=lambda name: (tallies[name].start_us, name))]
        tally = tallies[rule.tally] = Tally(now_us)
    if rule.in_order:
        return _next_step(rule, index, tally, event_id, now_us)
    if rule.distinct and rule.distinct <= MAX_ITEMS and not rule.count:
        return _distinct(rule, step, act, tally, now_us)
    return _counted(rule, step, act, tally, now_us)


def _next_step(rule: Rule, index: int, tally: Tally, event_id: bytes, now_us: int) -> Match | None:
    if tally.step and rule.within_us and now_us - tally.start_us > rule.within_us:
        tally.step = 0
    if index == 0 and tally.step <= 1:
        tally.step = 1
        tally.start_us = now_us
        tally.events = (event_id,)
        return None
    if index != tally.step:
        return None
    tally.events = (*tally.events[: MAX_CITED - 1], event_id)
    tally.step += 1
    if tally.step < len(rule.steps):
        return None
    tally.step = 0
    return Match(rule, 0, tally.events, {"items": "1", "count": "1"})


def _distinct(rule: Rule, step: Step, act: Act, tally: Tally, now_us: int) -> Match | None:
    """Exact distinct items within the window, at most eight, each with its newest time."""
    if step.item is None:
        return None
    item = step.item(act)[:64]
    known = any(held[0] == item for held in tally.items)
    kept = [held for held in tally.items if held[0] != item]
    if rule.within_us:
        kept = [held for held in kept if now_us - held[1] <= rule.within_us]
    kept.append((item, now_us, act.event.event_id))
    tally.items = kept[-MAX_ITEMS:]
    if known or len(tally.items) < rule.distinct:
        return None
    words = {"items": ", ".join(held[0] for held in tally.items), "count": str(len(tally.items))}
    return Match(rule, len(tally.items), tuple(held[2] for held in tally.items), words)


def _counted(rule: Rule, step: Step, act: Act, tally: Tally, now_us: int) -> Match | None:
    """Hits within a window that starts with its first.

    Many distinct items are estimated by a 256-bit sketch.
    """
    if rule.within_us and now_us - tally.start_us > rule.within_us:
        tally.count = tally.sketch = 0
        tally.events = ()
    if tally.count == 0:
        tally.start_us = now_us
    tally.count += 1
    if step.item is not None:
        tally.sketch |= 1 << zlib.crc32(step.item(act).encode("utf-8", "replace")) % SKETCH_BITS
    event_id = act.event.event_id
    if len(tally.events) < MAX_CITED:
        tally.events = (*tally.events, event_id)
    else:
        tally.events = (*tally.events[: MAX_CITED - 1], event_id)
    distinct = tally.sketch.bit_count()
    if rule.distinct and distinct < rule.distinct:
        return None
    if tally.count < rule.count:
        return None
    words = {"items": str(distinct), "count": str(tally.count)}
    match = Match(rule, distinct, tally.events, words)
    if rule.again:
        return match if (tally.count - rule.count) % rule.again == 0 else None
    # once per window: the count goes below every threshold until the window is over
    tally.count = -(1 << 40)
    tally.sketch = 0
    return match
