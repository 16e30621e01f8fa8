"""Send again what was sent, failed or was missed: one message, a range, its failures, or what never arrived.

A replay is a row with a place in its range; each step queues some and moves the place, in one transaction. The
messages are those of the first time: same ids, same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from guardhouse.audit.record import Entry
from guardhouse.audit.record import record as audit
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.notices import read
from guardhouse.notices.read import Mark, Position
from guardhouse.webhooks import delivery_store, fan_out, lanes, replay_store, rules, store, wake_store
from guardhouse.webhooks.delivery_store import NewDelivery
from guardhouse.webhooks.formats import RenderContext
from guardhouse.webhooks.replay_store import Progress, Replay, Source
from guardhouse.webhooks.store import Endpoint

STEP: Final = 1000
CANCELLED_AT_ONCE: Final = 5000
KEPT: Final = timedelta(days=lanes.DAYS_KEPT)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to replay; an absent ``until`` is now."""

    mode: str
    since: datetime | None = None
    until: datetime | None = None
    message_id: UUID | None = None


async def begin(tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint, asked: Asked) -> Replay:
    """Write down a replay; the job that runs it is the caller's to enqueue.

    Raises:
        Conflict: the endpoint is stopped.
        ValidationFailed: the range is empty or older than what is kept; no message named, or two ways to.
        NotFound: the endpoint never had this message.
    """
    if not endpoint.takes:
        raise Conflict("The endpoint is stopped; enable it first.", state=endpoint.state)
    now = resources.clock.now()
    since, until = await _span(tx, endpoint, asked, now)
    locked = await store.get_endpoint(tx, endpoint.tenant_id, endpoint.id, lock=True)
    if locked is None:
        raise NotFound("There is no such webhook.")
    number = locked.replays + 1
    await store.note_health(tx, endpoint.id, {"replays": number})
    made = Replay(
        new_id(), endpoint.tenant_id, endpoint.id, number, asked.mode, since, until, asked.message_id, "running",
        None, 0, 0, caller.credential_id, now, None,
    )  # fmt: skip
    await replay_store.add(tx, made)
    after = {"mode": asked.mode, "since": rfc3339(since), "until": rfc3339(until)}
    await audit(tx, caller.actor, Entry("webhook.replay", rules.subject_of(endpoint.id), after=after))
    return made


async def cancel(tx: Tx, resources: Resources, caller: Caller, found: Replay) -> Replay:
    """End a replay: no more is queued, what of it is pending is cancelled; repeatable.

    The first few thousand go here, the job does the rest.
    """
    now = resources.clock.now()
    ended = replace(found, state="cancelled", finished_at=found.finished_at or now)
    if found.state != "cancelled":
        await replay_store.end(tx, found.id, "cancelled", now)
    await cancel_some(tx, ended, now)
    await audit(tx, caller.actor, Entry("webhook.cancel_replay", rules.subject_of(found.endpoint_id)))
    return ended


async def cancel_some(tx: Tx, found: Replay, now: datetime) -> bool:
    """Cancel pending deliveries of a replay; tells whether more may be left."""
    await delivery_store.lock_ordered(tx, [found.endpoint_id])
    subjects = await delivery_store.cancel_pending(
        tx, found.endpoint_id, replay=found.number, now=now, limit=CANCELLED_AT_ONCE
    )
    await delivery_store.promote(tx, sorted({(found.endpoint_id, subject) for subject in subjects}), now)
    return len(subjects) == CANCELLED_AT_ONCE


async def get(tx: Tx, tenant_id: UUID, replay_id: UUID) -> tuple[Replay, Progress]:
    """Return a replay and how far its deliveries are.

    Raises:
        NotFound: the tenant has none such.
    """
    found = await replay_store.find(tx, tenant_id, replay_id)
    if found is None:
        raise NotFound("There is no such replay.")
    return found, await replay_store.progress(tx, found)


async def step(tx: Tx, resources: Resources, replay_id: UUID) -> bool:
    """Queue the next thousand of a replay, or cancel some of one that was ended; tells whether there is more."""
    found = await replay_store.lock(tx, replay_id)
    if found is None or found.state == "done":
        return False
    now = resources.clock.now()
    if found.state == "cancelled":
        return await cancel_some(tx, found, now)
    endpoint = await store.get_endpoint(tx, found.tenant_id, found.endpoint_id)
    if endpoint is None or not endpoint.takes:
        await replay_store.end(tx, found.id, "cancelled", now)
        return True
    if found.mode == "missing":
        place, looked_at, queued = await _queue_missing(tx, resources, endpoint, found, now)
    else:
        place, looked_at, queued = await _queue_sent(tx, endpoint, found, now)
    await replay_store.move(tx, found.id, place, looked_at, queued)
    if place is None:
        await replay_store.end(tx, found.id, "done", now)
    await wake_store.notify_changed(
        tx, endpoint.id
    )  # the dispatcher looks back as far as these messages are old
    return place is not None


Moved = tuple[Mapping[str, Any] | None, int, int]


async def _queue_sent(tx: Tx, endpoint: Endpoint, found: Replay, now: datetime) -> Moved:
    sources = await replay_store.list_sources(tx, found, STEP)
    made = await _queue(tx, endpoint, found, [one for one in sources if one.wanted], now)
    if len(sources) < STEP:
        return None, len(sources), made
    return {"at": rfc3339_exact(sources[-1].message_at), "number": sources[-1].number}, len(sources), made


async def _queue(tx: Tx, endpoint: Endpoint, found: Replay, sources: Sequence[Source], now: datetime) -> int:
    if not sources:
        return 0
    await delivery_store.lock_ordered(tx, [endpoint.id] if endpoint.fifo else [])
    made = await delivery_store.add_deliveries(
        tx,
        [
            NewDelivery(
                new_id(), one.message_at, endpoint.tenant_id, endpoint.id, one.message_id, found.number, one.kind,
                one.subject, endpoint.fifo,
            )
            for one in sources
        ],
        now,
    )  # fmt: skip
    await wake_store.notify_due(tx, [endpoint.id])
    return len(made)


async def _queue_missing(
    tx: Tx, resources: Resources, endpoint: Endpoint, found: Replay, now: datetime
) -> Moved:
    place = found.place or {}
    start = Position(*place["position"]) if place else Position(0, 0, 0)
    part = await read.read_tenant_after(tx, found.tenant_id, Mark(start, found.since + read.SKEW), STEP)
    wanted = [
        (endpoint, notice, form)
        for notice in part.notices
        if found.since <= notice.occurred_at < found.until
        and (form := rules.admits(endpoint, notice)) is not None
    ]
    there = await replay_store.find_unfinished_or_delivered(
        tx, endpoint, [fan_out.message_id(notice, form) for _, notice, form in wanted], found.since
    )
    missing = [pair for pair in wanted if fan_out.message_id(pair[1], pair[2]) not in there]
    made = await fan_out.add(
        tx, missing, RenderContext(resources.settings.public_url), now, replay=found.number
    )
    if len(part.notices) < STEP or part.notices[-1].occurred_at > found.until + read.SKEW:
        return None, len(part.notices), made.deliveries
    last = part.notices[-1].position
    return {"position": [last.epoch, last.txid, last.id]}, len(part.notices), made.deliveries


async def _span(tx: Tx, endpoint: Endpoint, asked: Asked, now: datetime) -> tuple[datetime, datetime]:
    if asked.mode == "one":
        if asked.message_id is None:
            raise _invalid("/message_id", "missing", "mode one names a message_id")
        at = await replay_store.find_message(tx, endpoint, asked.message_id)
        if at is None:
            raise NotFound("This endpoint never had such a message.")
        return at, at + timedelta(microseconds=1)
    if asked.message_id is not None:
        raise _invalid("/message_id", "unexpected", f"mode {asked.mode} names a range, not a message")
    if asked.since is None:
        raise _invalid("/since", "missing", f"mode {asked.mode} needs since")
    until = min(asked.until or now, now)
    if asked.since >= until:
        raise _invalid("/since", "order", "since must be before until, and not in the future")
    if asked.since < now - KEPT:
        available = {"since": rfc3339(now - KEPT), "until": rfc3339(now)}
        raise ValidationFailed(
            "The range begins before what is kept.",
            errors=[{"pointer": "/since", "code": "too_old", "detail": f"{KEPT.days} days are kept"}],
            available=available,
        )
    return asked.since, until


def rfc3339_exact(instant: datetime) -> str:
    """Return an instant to the microsecond, as a place in a range needs it."""
    return instant.isoformat()


def _invalid(pointer: str, code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(f"{detail}.", errors=[{"pointer": pointer, "code": code, "detail": detail}])
