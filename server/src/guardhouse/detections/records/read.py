"""Read records back: the body of an answer as it was given, without excerpts; the text only where it was kept."""

import math
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import zstandard

from guardhouse.detections.policies.store import shortest_retention
from guardhouse.detections.records import store
from guardhouse.detections.records.store import USUAL_DAYS, Record
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.ids import time_of

YOUNG: Final = timedelta(seconds=2)
CONTEXT: Final = ("agent_id", "session_id", "run_id", "trace_id")
# What an answer has in any case, where the record left it out for being empty.
_EMPTY: Final[dict[str, Any]] = {
    "reason": None,
    "reasons": [],
    "views": [],
    "instructions": [],
    "warnings": [],
    "metadata": {},
}


class DetectionGone(Problem):
    """The detection is older than records are kept."""

    status, code, title = 410, "detection_gone", "Detection no longer kept"
    remediation = "Keep the answer of the call itself, or a longer retention in the policy."


async def find(tx: Tx, tenant_id: UUID, detection_id: UUID, now: datetime) -> dict[str, Any] | None:
    """Return the body of a recorded detection; None when there is none."""
    found = await find_record(tx, tenant_id, detection_id, now)
    if found is None:
        return None
    packed = await store.find_text(tx, tenant_id, now, detection_id, found.at)
    text = None if packed is None else zstandard.decompress(packed).decode("utf-8")
    return body_of(found, text)


async def find_record(tx: Tx, tenant_id: UUID, detection_id: UUID, now: datetime) -> Record | None:
    """Return a detection as it is recorded; None when there is none."""
    at = time_of(detection_id)
    return None if at is None else await store.find_record(tx, tenant_id, now, detection_id, at)


def may_come(detection_id: UUID, now: datetime) -> bool:
    """Tell whether an id is so young that its record may not be written yet."""
    at = time_of(detection_id)
    return at is not None and abs(now - at) < YOUNG


async def absent(tx: Tx, tenant_id: UUID, detection_id: UUID, now: datetime) -> Problem:
    """Return what to say of an id without a record: past what may still be kept, or never there.

    The policy of a deleted record is not known any more: gone is what is older than the shortest retention that a
    version of the tenant's policies ever had. The id's own time and the tenant's own policies tell nothing of others.
    """
    at = time_of(detection_id)
    if at is not None and now - at > timedelta(days=await shortest_retention(tx, tenant_id, USUAL_DAYS)):
        return DetectionGone(f"Detections of {at.date()} are no longer kept.")
    return NotFound("There is no such detection.")


def body_of(found: Record, text: str | None = None) -> dict[str, Any]:
    """Return the body of the answer that a record was made of."""
    score = None if found.score_milli is None else found.score_milli / 1_000
    context = {name: value for name in CONTEXT if (value := getattr(found, name)) is not None}
    body: dict[str, Any] = {
        "id": str(found.id),
        "request_id": str(found.id),
        "status": "completed",
        "is_malicious": found.malicious,
        "confidence": score,
        "score": score,
        "threat_types": found.threat_types,
        "decision": found.decision,
        "would_decide": found.would_decide,
        "thresholds": {
            "review": found.review_milli / 1_000,
            "block": found.block_milli / 1_000,
            "operating_point": found.operating_point,
        },
        "channel": found.channel,
        "flags": found.flags,
        "engine": found.engine,
        "engine_version": found.engine_version,
        "tier": found.tier,
        "verdict_source": found.verdict_source,
        "degraded": found.degraded,
        "fallback_reason": found.fallback_reason,
        "policy": str(found.policy_id),
        "policy_version": found.policy_version,
        "cached": found.cached,
        "processing_time_ms": math.ceil(found.took_us / 1_000),
        "processing_time_us": found.took_us,
        "endpoint": found.endpoint,
        "context": context,
        "created_at": rfc3339(found.at),
        "key": f"{found.kind}:{found.credential}",
        "text_length": found.text_length,
    }
    rest: dict[str, Any] = msgspec.json.decode(found.rest)
    kept = {} if text is None else {"text": text}
    return body | _EMPTY | rest | kept
