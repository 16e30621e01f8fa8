"""Record a detection: the answer goes out, its record goes to whoever writes, excerpts and text stay behind.

``buffered`` never waits; ``durable`` waits for the commit and is refused when there can be none.
"""

import asyncio
import hashlib
import hmac
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection, answer
from guardhouse.detections.records import figures
from guardhouse.detections.records.read import body_of
from guardhouse.detections.records.store import Record
from guardhouse.detections.records.write import Entry
from guardhouse.foundation import correlation
from guardhouse.foundation.errors import Unavailable
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.notices.detection_kinds import MOST_LISTED, DetectionCompleted, DetectionFlagged
from guardhouse.notices.publish import Draft, Origin
from guardhouse.webhooks.adhoc import Letter, letter

# Members of an answer that columns hold, that tell of the text, or that only the caller of the moment asked for.
_NOT_IN_REST: Final = frozenset(
    {
        "id", "request_id", "status", "is_malicious", "confidence", "score", "threat_types", "decision",
        "would_decide", "thresholds", "channel", "flags", "engine", "engine_version", "tier", "verdict_source",
        "degraded", "fallback_reason", "policy", "policy_version", "cached", "processing_time_ms",
        "processing_time_us", "endpoint", "context", "created_at", "explain", "sanitized_text", "redacted_text",
    }
)  # fmt: skip
_OF_CONVERSATIONS: Final = ("message", "messages", "tool_calls")  # they stay in the record, notices have none
_EXCERPTS: Final = frozenset({"text", "value", "argument", "evidence", "sanitized_text"})


class NotRecorded(Unavailable):
    """The policy wants every call recorded before it is answered, and the records have no room left."""

    status, code, title = 503, "not_recorded", "Detection not recorded"


async def record(desk: Desk, caller: Caller, found: Detection) -> dict[str, Any]:
    """Return the body of an answer and record it.

    Raises:
        NotRecorded, DatabaseAway: the record must be durable and cannot be stored now.
    """
    body = answer(found)
    _count(found)
    durable = found.policy.record == "durable"
    if desk.records.full:
        figures.NOT_RECORDED.inc()
        if durable:
            raise NotRecorded("As many records wait for the database as may wait.")
        body["warnings"] = [*body["warnings"], "not_recorded"]
        return body
    entry = entry_of(desk.resources, caller, found, body)
    if not durable:
        desk.records.add(entry)
        return body
    stored = asyncio.get_running_loop().create_future()
    desk.records.add(entry, stored)
    await stored
    return body


def entry_of(resources: Resources, caller: Caller, found: Detection, body: dict[str, Any]) -> Entry:
    """Return what is kept of a detection."""
    text, verdict, policy = found.wanted.text, found.judged.verdict, found.policy
    ids = {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, value in found.wanted.context.items()
    }
    kept = Record(
        tenant_id=caller.tenant.id,
        id=found.id,
        at=found.at,
        kind=caller.kind,
        credential=caller.credential_id,
        policy_id=policy.id,
        policy_version=policy.version,
        channel=found.wanted.channel,
        decision=found.decision,
        would_decide=found.would_decide,
        malicious=found.malicious,
        score_milli=found.score_milli,
        review_milli=found.thresholds.review,
        block_milli=found.thresholds.block,
        operating_point=found.thresholds.operating_point,
        threat_types=body["threat_types"],
        flags=body["flags"],
        engine=found.judged.engine,
        engine_version=None if verdict is None else verdict.engine_version,
        tier=found.judged.tier,
        endpoint=found.judged.endpoint,
        verdict_source=found.judged.source,
        degraded=found.judged.degraded,
        fallback_reason=found.judged.fallback_reason,
        cached=found.judged.cached,
        took_us=found.took_us,
        text_hmac=text_hmac(resources, caller, text),
        text_length=len(text),
        agent_id=ids.get("agent_id"),
        session_id=ids.get("session_id"),
        run_id=ids.get("run_id"),
        trace_id=ids.get("trace_id"),
        retention_days=policy.retention_days,
        rest=msgspec.json.encode(
            {
                name: without_excerpts(value)
                for name, value in body.items()
                if name not in _NOT_IN_REST and (value or name in _OF_CONVERSATIONS)
            }
        ),
    )
    return Entry(
        kept,
        text if policy.store_text else None,
        _notices(caller, found, kept),
        _letters(caller, found, kept),
    )


def _notices(caller: Caller, found: Detection, kept: Record) -> tuple[Draft, ...]:
    """Return what everybody who listens is told: that a text was flagged, also in the shadow."""
    if found.would_decide == "allow":
        return ()
    return (Draft(DetectionFlagged(**told(kept)), caller.tenant.id, 1, origin_of(caller)),)


def _letters(caller: Caller, found: Detection, kept: Record) -> tuple[Letter, ...]:
    """Return what goes to the URL that came with the call."""
    url = found.wanted.webhook_url
    if url is None:
        return ()
    return (letter(url, DetectionCompleted(**told(kept)), caller.tenant.id, origin_of(caller)),)


def told(kept: Record) -> dict[str, Any]:
    """Return what a notice says of a record: its body, long lists cut, without the parts of a conversation."""
    body = {name: value for name, value in body_of(kept).items() if name not in _OF_CONVERSATIONS}
    return body | {name: body[name][:MOST_LISTED] for name in ("reasons", "instructions")}


def origin_of(caller: Caller) -> Origin:
    """Return where notices of a call come from; they are written after it, by another task."""
    return Origin(
        correlation_id=correlation.current(),
        api_key_id=UUID(caller.credential_id) if caller.kind == "key" else None,
        project_id=caller.project_id,
        trace_id=correlation.trace_id(),
    )


def text_hmac(resources: Resources, caller: Caller, text: str) -> bytes:
    """Return what tells that two texts of a tenant are the same, and nothing of either to anybody else."""
    name = b"guardhouse detection texts " + caller.tenant.id.bytes
    key = hmac.digest(resources.master_key.generations[0], name, hashlib.sha256)
    return hmac.digest(key, text.encode("utf-8"), hashlib.sha256)


def without_excerpts(value: Any) -> Any:
    """Return a member of an answer without the parts of the text that lists of findings show."""
    if not isinstance(value, list):
        return value
    return [
        {name: without_excerpts(part) for name, part in one.items() if name not in _EXCERPTS}
        if isinstance(one, dict)
        else one
        for one in value
    ]


def _count(found: Detection) -> None:
    judged, channel = found.judged, found.wanted.channel
    figures.DETECTIONS.labels(found.decision, judged.engine, channel).inc()
    figures.DURATION.labels(judged.engine).observe(found.took_us / 1_000_000)
    if found.score_milli is not None:
        figures.SCORE.labels(channel).observe(found.score_milli / 1_000)
    if judged.degraded:
        figures.DEGRADED.labels(judged.fallback_reason or "unknown").inc()
    if found.policy.shadow:
        figures.SHADOW.labels(found.would_decide).inc()
