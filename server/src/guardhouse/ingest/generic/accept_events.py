"""A batch of events for one stream: a verdict on each, the good ones stored in one transaction, one answer per key."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from guardhouse.anomalies.configs.in_force import find_config
from guardhouse.anomalies.stream import Stream
from guardhouse.anomalies.streams.append import Appended, append, check_open
from guardhouse.anomalies.streams.find_stream import reach_stream
from guardhouse.anomalies.streams.keep_days import make_days
from guardhouse.anomalies.streams.store import DayMissing
from guardhouse.anomalies.streams.stored_event import NewEvent
from guardhouse.anomalies.streams.wire import calibration_shape
from guardhouse.foundation import idempotency
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem, Unavailable
from guardhouse.foundation.idempotency import Answer, Call
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.request import system_transaction, tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.ingest.counters import REJECTED
from guardhouse.ingest.generic.judge_event import Judge, Refused
from guardhouse.ingest.generic.read_events import EventsEmpty, read_document, read_lines
from guardhouse.ingest.generic.wire import BatchAnswer, EventVerdict

NDJSON: Final = "application/x-ndjson"
MAX_LISTED: Final = 1000
LARGE_BYTES: Final = 256 << 10
"""A larger body is read in a thread, so that others have their turn."""
ATTEMPTS: Final = 3


class EventsRejected(Problem):
    """Every event of the batch breaks a rule; nothing was stored."""

    status, code, title = 422, "events_rejected", "All events rejected"
    remediation = "Correct the events listed in `errors`; each says which rule it breaks."


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it came. ``call``: under its Idempotency-Key, None without one."""

    caller: Caller
    stream: str
    content: bytes
    media_type: str
    call: Call | None


@dataclass(slots=True)
class _Judged:
    """The verdicts on the events of a batch."""

    events: list[NewEvent] = field(default_factory=list)
    refused: list[tuple[int, Refused]] = field(default_factory=list)
    warnings: dict[str, int] = field(default_factory=dict)


async def accept_events(resources: Resources, batch: Batch) -> tuple[Answer, bool]:
    """Judge and store one batch; returns its answer, and whether it was given before.

    Raises:
        Problem: the batch as a whole cannot be taken; nothing is stored then.
    """
    for _ in range(ATTEMPTS):
        try:
            return await _accept(resources, batch)
        except DayMissing:
            async with system_transaction(resources) as tx:
                await make_days(tx, resources.clock.now())
    raise Unavailable("The events could not be stored just now.")


async def _accept(resources: Resources, batch: Batch) -> tuple[Answer, bool]:
    tenant, now = batch.caller.tenant, resources.clock.now()
    async with tenant_transaction(resources, tenant) as tx:
        if batch.call is not None:
            known = await idempotency.claim(tx, batch.call, now)
            if known is not None:
                return known, True
        stream = await reach_stream(tx, tenant, batch.stream, now)
        check_open(stream, now)
        judged = await _judge(batch, stream, now)
        appended = await append(tx, tenant, stream, judged.events, now)
        answer = await _answer(tx, batch, judged, appended, now)
        if batch.call is not None:
            await idempotency.remember(tx, batch.call, answer, now)
    for _, refused in judged.refused:
        REJECTED.labels(refused.code).inc()
    return answer, False


async def _judge(batch: Batch, stream: Stream, now: datetime) -> _Judged:
    if len(batch.content) > LARGE_BYTES:
        return await asyncio.to_thread(_judge_all, batch, stream, now)
    return _judge_all(batch, stream, now)


def _judge_all(batch: Batch, stream: Stream, now: datetime) -> _Judged:
    """Return the verdicts on all events.

    Raises:
        Problem: there are none, too many, or all of them are refused.
    """
    is_lines = batch.media_type == NDJSON
    items: Iterable[Any] = read_lines(batch.content) if is_lines else read_document(batch.content)
    judge, judged = Judge(now, stream.session_key), _Judged()
    for index, item in enumerate(items):
        try:
            if isinstance(item, Refused):
                raise item
            judged.events.append(judge.judge(index, item))
        except Refused as refused:
            judged.refused.append((index, refused))
    if not judged.events and not judged.refused:
        raise EventsEmpty("The body has no events.")
    if not judged.events:
        errors = [
            {"pointer": f"/events/{index}", "code": refused.code, "detail": refused.detail}
            for index, refused in judged.refused
        ]
        raise EventsRejected(f"None of {len(errors):,} events could be taken.", errors=errors)
    judged.warnings = dict(judge.warnings)
    return judged


async def _answer(tx: Tx, batch: Batch, judged: _Judged, appended: Appended, now: datetime) -> Answer:
    stream, duplicates = appended.stream, appended.duplicates
    config = await find_config(tx, batch.caller.tenant, now)
    items = [
        EventVerdict(index=index, status="rejected", code=refused.code, detail=refused.detail)
        for index, refused in judged.refused
    ]
    items += [
        EventVerdict(index=index, status="duplicate", code="duplicate", detail="Stored before under its key.")
        for index in duplicates
    ]
    last = appended.last_seq or stream.last_seq
    body = BatchAnswer(
        batch_id=new_id(),
        stream_id=stream.id,
        accepted=len(judged.events) - len(duplicates),
        rejected=len(judged.refused),
        duplicates=len(duplicates),
        first_seq=appended.first_seq,
        last_seq=appended.last_seq,
        state=stream.state,
        calibration=calibration_shape(stream, config, ingested=last),
        warnings=judged.warnings,
        items=sorted(items, key=lambda item: item.index)[:MAX_LISTED],
    )
    status = 207 if judged.refused else 202
    return Answer(status, (("content-type", "application/json"),), body.model_dump_json().encode())
