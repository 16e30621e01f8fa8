"""One text: judge it, decide, and say why."""

import math
import time
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.detections.ask_engine import ask_engine
from guardhouse.detections.decide import Decision, Thresholds, decide, thresholds_of
from guardhouse.detections.engine_pool import EnginePool
from guardhouse.detections.read_request import Wanted
from guardhouse.detections.verdict import Ask, Verdict
from guardhouse.foundation.clock import Clock, rfc3339
from guardhouse.foundation.ids import new_id

REMOVED: Final = "[removed]"


@dataclass(frozen=True, slots=True)
class Detection:
    """A judged text: the verdict, the decision by these thresholds, how long it took in microseconds."""

    id: UUID
    wanted: Wanted
    verdict: Verdict
    thresholds: Thresholds
    decision: Decision
    took_us: int


async def detect(pool: EnginePool, wanted: Wanted) -> Detection:
    """Judge a text.

    Raises:
        EngineBusy, EngineFailed, DetectionTimeout: there is no verdict.
    """
    begun = time.perf_counter_ns()
    thresholds = thresholds_of(wanted.operating_point or "balanced", wanted.threshold_milli)
    ask = Ask(wanted.text, wanted.channel, detail_from=thresholds.review, explain=wanted.explain)
    verdict = await ask_engine(pool, ask, wanted.seconds)
    decision = decide(verdict.score_milli, verdict.flags, thresholds)
    return Detection(
        new_id(), wanted, verdict, thresholds, decision, (time.perf_counter_ns() - begun) // 1_000
    )


def answer(found: Detection, clock: Clock) -> dict[str, Any]:
    """Return the body of an answer; scores are thousandths over 1,000."""
    wanted, verdict = found.wanted, found.verdict
    flagged = verdict.score_milli >= found.thresholds.review
    flags = {*verdict.flags, *(("invalid_unicode",) if wanted.invalid_unicode else ())}
    body: dict[str, Any] = {
        "id": str(found.id),
        "request_id": str(found.id),
        "status": "completed",
        "is_malicious": verdict.score_milli >= found.thresholds.block,
        "confidence": verdict.score_milli / 1_000,
        "score": verdict.score_milli / 1_000,
        "reason": verdict.reason if flagged and wanted.reasoning else None,
        "threat_types": list(verdict.threat_types) if flagged else [],
        "decision": found.decision,
        "thresholds": {
            "review": found.thresholds.review / 1_000,
            "block": found.thresholds.block / 1_000,
            "operating_point": found.thresholds.operating_point,
        },
        "channel": wanted.channel,
        "reasons": [_plain(reason) for reason in verdict.reasons] if flagged and wanted.reasoning else [],
        "views": [_scored(view) for view in verdict.views],
        "flags": sorted(flags),
        "instructions": [_scored(one) for one in verdict.instructions],
        "warnings": list(wanted.warnings),
        "engine": "embedded",
        "engine_version": verdict.engine_version,
        "tier": "fast",
        "verdict_source": "engine",
        "degraded": False,
        "fallback_reason": None,
        "processing_time_ms": math.ceil(found.took_us / 1_000),
        "processing_time_us": found.took_us,
        "endpoint": "embedded/fast",
        "context": wanted.context,
        "metadata": wanted.metadata,
        "created_at": rfc3339(clock.now()),
    }
    if wanted.explain and verdict.explain is not None:
        body["explain"] = _plain(verdict.explain)
    if wanted.sanitize:
        body["sanitized_text"] = sanitized(wanted.text, [one.span for one in verdict.instructions])
    return body


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
