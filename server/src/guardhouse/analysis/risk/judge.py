"""Judging a match: facts it needs, whose evidence it is, scale, exceptions, habituation, shadow.

Invariant: a hit that an exception, a habit or a shadow rule takes away is remembered as suppressed, never
dropped.
"""

from typing import Final

from guardhouse.analysis.risk.act import Act
from guardhouse.analysis.risk.answers import NO_ANSWERS, Answers, Place
from guardhouse.analysis.risk.effects import Input
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.evidence import NAT, Finding, habituated
from guardhouse.analysis.risk.facts import FileFacts
from guardhouse.analysis.risk.instances import Instances
from guardhouse.analysis.risk.match import CallPlan, Match, advance
from guardhouse.analysis.risk.process import Process, Suppressed
from guardhouse.analysis.risk.rules import Rule, Step
from guardhouse.analysis.risk.scoring import Scorer

LEARNED: Final = ("rule.", "ext.")  # evidence that a baseline counts the runs of
DAY_US: Final = 86_400 * 1_000_000


class Judge:
    """Turns matching steps into evidence or into what was suppressed."""

    __slots__ = ("answers", "facts", "hits", "instances", "position", "scorer")

    def __init__(self, instances: Instances, scorer: Scorer) -> None:
        self.instances = instances
        self.scorer = scorer
        self.facts = FileFacts()
        self.answers: Answers = NO_ANSWERS
        self.position = 0  # of the event that is applied
        self.hits: dict[tuple[str, int], tuple[int, int]] = {}  # (rule, day) -> (hits, of them added)

    def act(self, plan: CallPlan, event: RiskEvent, process: Process) -> Act:
        """The act that rules look at."""
        parent = None if process.parent is None else self.instances.states.get(process.parent)
        return Act(event, plan.name, process, None if parent is None else parent.exe)

    def matched(self, rule: Rule, index: int, step: Step, act: Act, now_us: int) -> None:
        """A step's conditions hold: check its facts, leave its marks, or move the rule on."""
        process = act.process
        event_id = act.event.event_id
        cited: tuple[bytes, ...] = ()
        if step.need_fact:
            names = self.facts.names(act.path, act.args.get("inode"))
            bits, cited = self.facts.get(names, now_us)
            if bits & step.need_fact != step.need_fact:
                return
        if step.set_fact:
            self.facts.put(self.facts.names(act.path, act.args.get("inode")), step.set_fact, now_us, event_id)
        if step.set_flag:
            process.mark(step.set_flag, event_id)
        if step.set_fact or step.set_flag:
            return
        cited += _marked(process, step.need_flag)
        owner = self._owner(rule, process)
        match = advance(rule, index, step, act, owner, now_us)
        self.scorer.soil(owner)
        if match is not None:
            events = tuple(dict.fromkeys((*cited, *match.events)))[:8]
            if step.need_fact:
                data = {"path": act.path, "events": [event.hex() for event in cited]}
                self.scorer.note_input(Input(owner.key, act.event.position, "file_fact", data))
            self._hit(match, act, owner, events, now_us)

    def _owner(self, rule: Rule, process: Process) -> Process:
        if rule.scope == "parent":
            return self.instances.parent_of(process) or process
        if rule.scope == "tree":
            return self.instances.states.get(process.root) or process
        return process

    def _hit(self, match: Match, act: Act, owner: Process, events: tuple[bytes, ...], now_us: int) -> None:
        rule = match.rule
        weight = rule.weight
        for conditions, factor in rule.scales:
            if all(condition.holds(act) for condition in conditions):
                weight = habituated(weight, factor)
        if rule.full_at:
            weight = weight * min(match.items, rule.full_at) // rule.full_at
        for conditions in rule.excepts:
            if all(condition.holds(act) for condition in conditions):
                words = ", ".join(f"{c.field} {act.text(c.field)}" for c in conditions)
                why = f"exception: {words}"
                owner.suppress(Suppressed(rule.evidence_id, weight, now_us, events[-1], why))
                self._count(rule, now_us, added=0)
                return
        self._count(rule, now_us, added=0 if rule.muted else 1)
        why = rule.why(act, match.words)
        full = bool(rule.full_at)
        finding = Finding(rule.evidence_id, "", weight, rule.half_life_s, why, events, full)
        self.weigh(owner, finding, now_us, muted=rule.muted)
        if owner is not act.process:
            data = {"from": list(act.process.key), "id": rule.evidence_id, "weight": weight, "why": why}
            self.scorer.note_input(Input(owner.key, act.event.position, "child_act", data))

    def take_hits(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Hits since the last call by (rule id, day of event time since the epoch): (all, those added)."""
        taken, self.hits = self.hits, {}
        return taken

    def _count(self, rule: Rule, now_us: int, *, added: int) -> None:
        place = (rule.id, now_us // DAY_US)
        hits, counted = self.hits.get(place, (0, 0))
        self.hits[place] = (hits + 1, counted + added)

    def weigh(self, owner: Process, finding: Finding, now_us: int, *, muted: str = "") -> None:
        """Shadow, habituation and answers, then the evidence; what they take away is remembered.

        `muted` says why nothing of it counts, "" when it does.
        """
        last = finding.events[-1]
        if owner.run is not None and finding.id.startswith(LEARNED):
            owner.run.hit(finding.id, self.position)
            self.scorer.soil(owner)
        if muted:
            owner.suppress(Suppressed(finding.id, finding.nats, now_us, last, muted, finding.detail))
            return
        factor, why = self.habit(owner, finding.id, finding.detail)
        kept = habituated(finding.nats, factor)
        if factor < NAT:
            owner.suppress(Suppressed(finding.id, finding.nats - kept, now_us, last, why, finding.detail))
        self.scorer.record(owner, finding._replace(nats=kept, exe=owner.exe or ""), now_us)

    def habit(self, owner: Process, evidence_id: str, detail: str) -> tuple[int, str]:
        """(factor in millionths, why) of habit and answers for evidence of a process; 1,000,000 takes nothing."""
        profile = owner.profile
        if self.answers:
            hits, runs = (0, 0) if profile is None else (profile.hits(evidence_id), profile.runs)
            place = Place(owner.exe or "", owner.alphabet, evidence_id, detail)
            return self.answers.weigh(place, hits, runs)
        if profile is None:
            return NAT, ""
        factor = profile.habit(evidence_id)
        if factor == NAT:
            return NAT, ""
        return factor, f"usual here: {profile.hits(evidence_id)} of {profile.runs} runs"


def _marked(process: Process, flags: int) -> tuple[bytes, ...]:
    """The events that set the flags a step needs."""
    if not flags or process.marks is None:
        return ()
    return tuple(event for flag, ids in sorted(process.marks.items()) if flag & flags for event in ids)
