"""One text: judge it, decide, and say why."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.detections.canaries.raise_alarm import decision_on_canaries, raise_alarm
from guardhouse.detections.canaries.recognise import NOT_LOOKED_UP, recognise
from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.decide import Decision, Thresholds, decide
from guardhouse.detections.desk import Desk
from guardhouse.detections.judge import Judged, judge
from guardhouse.detections.policy import Policy
from guardhouse.detections.read_request import Wanted, check_length
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import DatabaseAway, TenantKey
from guardhouse.foundation.ids import id_at

REMOVED: Final = "[removed]"


@dataclass(frozen=True, slots=True)
class Detection:
    """A judged text: the verdict, what is decided by these thresholds, how long it took in microseconds.

    ``would_decide`` is the real decision; ``decision`` is ``allow`` instead as long as the policy stands in the shadow.
    ``beside`` holds members of the answer that only a conversation has.
    """

    id: UUID
    at: datetime
    wanted: Wanted
    policy: Policy
    judged: Judged
    thresholds: Thresholds
    would_decide: Decision
    took_us: int
    beside: Mapping[str, Any] | None = None

    @property
    def decision(self) -> Decision:
        """What the caller is told to do."""
        return "allow" if self.policy.shadow else self.would_decide

    @property
    def score_milli(self) -> int | None:
        """The score in thousandths; None without a verdict."""
        return None if self.judged.verdict is None else self.judged.verdict.score_milli

    @property
    def malicious(self) -> bool:
        """Whether the block threshold is reached; without a verdict, whether the fail mode blocks."""
        score = self.score_milli
        return self.would_decide == "block" if score is None else score >= self.thresholds.block

    @property
    def flagged(self) -> bool:
        """Whether the review threshold is reached, so that reasons are told."""
        score = self.score_milli
        return score is not None and score >= self.thresholds.review


async def detect(desk: Desk, tenant: TenantKey, policy: Policy, wanted: Wanted) -> Detection:
    """Judge a text of a tenant under a policy.

    Raises:
        TextTooLong: the policy judges shorter texts only.
        EngineBusy: more texts wait than may wait, and the policy has no answer of its own for that.
    """
    check_length(wanted.text, policy.max_chars, wanted.place)
    begun = time.perf_counter_ns()
    thresholds = policy.lines(wanted.channel, wanted.operating_point, wanted.threshold_milli)
    judged = await judge(desk, policy, wanted, detail_from=thresholds.review)
    canaries, unknown = await _look_up(desk, tenant, judged)
    judged = raise_alarm(judged, canaries)
    decision = _decide(policy, judged, thresholds, alarmed=bool(canaries), unknown=bool(unknown))
    took_us = (time.perf_counter_ns() - begun) // 1_000
    now = desk.resources.clock.now()
    asked = replace(wanted, warnings=(*wanted.warnings, *unknown)) if unknown else wanted
    return Detection(id_at(now), now, asked, policy, judged, thresholds, decision, took_us)


async def _look_up(
    desk: Desk, tenant: TenantKey, judged: Judged
) -> tuple[Mapping[str, Canary], tuple[str, ...]]:
    """Return the canaries in a judged text, as they are now; a warning where the database could not be asked."""
    marked = () if judged.verdict is None else judged.verdict.marked
    try:
        return await recognise(desk.resources, tenant, [one.digest for one in marked]), ()
    except DatabaseAway:
        return {}, (NOT_LOOKED_UP,)


def _decide(
    policy: Policy, judged: Judged, thresholds: Thresholds, *, alarmed: bool, unknown: bool
) -> Decision:
    if judged.verdict is None:
        return policy.without_verdict()
    if alarmed:
        return decision_on_canaries(policy)
    decision = decide(judged.verdict.score_milli, judged.verdict.flags, thresholds)
    return "review" if unknown and decision == "allow" else decision


def answer(found: Detection) -> dict[str, Any]:
    """Return the body of an answer; scores are thousandths over 1,000."""
    wanted, judged, verdict = found.wanted, found.judged, found.judged.verdict
    score = None if verdict is None else verdict.score_milli / 1_000
    told = verdict if found.flagged and wanted.reasoning else None
    flags = {
        *(verdict.flags if verdict else ()),
        *(("invalid_unicode",) if wanted.invalid_unicode else ()),
    }
    body: dict[str, Any] = {
        "id": str(found.id),
        "request_id": str(found.id),
        "status": "completed",
        "is_malicious": found.malicious,
        "confidence": score,
        "score": score,
        "reason": told.reason if told else None,
        "threat_types": list(verdict.threat_types) if verdict and found.flagged else [],
        "decision": found.decision,
        "would_decide": found.would_decide,
        "thresholds": {
            "review": found.thresholds.review / 1_000,
            "block": found.thresholds.block / 1_000,
            "operating_point": found.thresholds.operating_point,
        },
        "channel": wanted.channel,
        "reasons": [_plain(reason) for reason in told.reasons] if told else [],
        "views": [_scored(view) for view in verdict.views] if verdict else [],
        "flags": sorted(flags),
        "instructions": [_scored(one) for one in verdict.instructions] if verdict else [],
        "warnings": list(wanted.warnings),
        "engine": judged.engine,
        "engine_version": verdict.engine_version if verdict else None,
        "tier": judged.tier,
        "verdict_source": judged.source,
        "degraded": judged.degraded,
        "fallback_reason": judged.fallback_reason,
        "policy": str(found.policy.id),
        "policy_version": found.policy.version,
        "cached": judged.cached,
        "processing_time_ms": math.ceil(found.took_us / 1_000),
        "processing_time_us": found.took_us,
        "endpoint": judged.endpoint,
        "context": wanted.context,
        "metadata": wanted.metadata,
        "created_at": rfc3339(found.at),
    }
    if wanted.explain and verdict is not None and verdict.explain is not None:
        body["explain"] = _plain(verdict.explain)
    if wanted.sanitize:
        spans = [one.span for one in verdict.instructions] if verdict else []
        body["sanitized_text"] = sanitized(wanted.text, spans)
    return body | dict(found.beside or {})


def sanitized(text: str, spans: list[tuple[int, int]]) -> str:
    """Return a text with these stretches, which are in order and do not overlap, replaced by ``[removed]``."""
    pieces: list[str] = []
    done = 0
    for start, end in spans:
        pieces += (text[done:start], REMOVED)
        done = end
    return "".join([*pieces, text[done:]])


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _scored(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(value)
    return {**{k: v for k, v in plain.items() if k != "score_milli"}, "score": plain["score_milli"] / 1_000}
