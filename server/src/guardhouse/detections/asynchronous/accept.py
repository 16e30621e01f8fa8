"""Take texts for the worker: inputs and their jobs in the caller's transaction, or nothing."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.detections.asynchronous import jobs, store
from guardhouse.detections.asynchronous.judge_inputs import batch_notice, error_of
from guardhouse.detections.asynchronous.packed import pack
from guardhouse.detections.asynchronous.store import Input
from guardhouse.detections.batches.detect_batch import Judged
from guardhouse.detections.batches.read_batch import Batch, Item
from guardhouse.detections.read_request import Refused, Wanted
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import id_at
from guardhouse.foundation.jobs import enqueue, enqueue_all
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.notices.detection_kinds import DetectionCompleted
from guardhouse.notices.publish import publish_all
from guardhouse.usage.judged_later import texts_per_second
from guardhouse.webhooks import adhoc

ITEMS_OF_A_JOB: Final = 100
COUNTED: Final = 10_000
UNMEASURED: Final = 200.0  # texts a second, until the worker has judged some of the tenant's: by far exceeded


class NowhereToDeliver(Refused):
    """The verdict of an asynchronous call would reach nobody: no `webhook_url`, and no endpoint that hears of it."""

    status, code, title = 422, "nowhere_to_deliver", "Nowhere to deliver"
    remediation = "Name a `webhook_url`, or register a webhook for `detection.completed` first."


@dataclass(frozen=True, slots=True)
class Asked:
    """An asynchronous call as read: what it says, and what it means."""

    value: dict[str, Any]
    wanted: Wanted
    warnings: tuple[str, ...]
    replaced: bool


async def accept(tx: Tx, resources: Resources, caller: Caller, asked: Asked) -> dict[str, Any]:
    """Take one text and return the body of the answer.

    Raises:
        NowhereToDeliver: nobody would hear of the verdict.
    """
    url = asked.wanted.webhook_url
    if url is None and not await adhoc.is_heard(
        tx, caller.tenant.id, DetectionCompleted.kind, caller.credential_id
    ):
        raise NowhereToDeliver("There is no `webhook_url` and no webhook.", "/webhook_url")
    now = resources.clock.now()
    given = Input(
        tenant_id=caller.tenant.id,
        id=id_at(now),
        at=now,
        batch_id=None,
        place=0,
        name=None,
        kind=caller.kind,
        credential=caller.credential_id,
        project_id=caller.project_id,
        state="queued",
        packed=pack(_bound(caller, asked.value), asked.warnings, replaced=asked.replaced),
    )
    await store.add_inputs(tx, [given])
    await enqueue(tx, jobs.judge, jobs.Work([given.id]))
    return {
        "id": str(given.id),
        "request_id": str(given.id),
        "status": "queued",
        "status_url": f"{resources.settings.public_url}/api/v1/detect/{given.id}",
        "estimated_completion_seconds": await _seconds_left(tx, caller, now),
        "webhook_url": url,
    }


async def accept_batch(tx: Tx, resources: Resources, caller: Caller, batch: Batch) -> dict[str, Any]:
    """Take a batch, in jobs of a hundred texts, and return the body of the answer."""
    now = resources.clock.now()
    batch_id, public_url = id_at(now), resources.settings.public_url
    inputs = [_input(caller, batch_id, place, item, resources) for place, item in enumerate(batch.items)]
    waiting = [one.id for one in inputs if one.packed is not None]
    row = store.Batch(
        caller.tenant.id, batch_id, now, caller.kind, caller.credential_id, batch.webhook_url,
        len(inputs), 0, len(inputs) - len(waiting), None if waiting else now,
    )  # fmt: skip
    await store.add_batch(tx, row)
    await store.add_inputs(tx, inputs)
    parts = [waiting[at : at + ITEMS_OF_A_JOB] for at in range(0, len(waiting), ITEMS_OF_A_JOB)]
    await enqueue_all(tx, jobs.judge, [jobs.Work(part) for part in parts])
    if not waiting:
        await tell_batch(tx, resources, caller, row)
    return {
        "id": str(batch_id),
        "request_id": str(batch_id),
        "status": "queued" if waiting else "completed",
        "status_url": f"{public_url}/api/v1/detect/batch/{batch_id}",
        "total": len(inputs),
        "estimated_completion_seconds": await _seconds_left(tx, caller, now),
        "webhook_url": batch.webhook_url,
        "created_at": rfc3339(now),
    }


async def _seconds_left(tx: Tx, caller: Caller, now: datetime) -> int:
    """Return how long the tenant's texts take at the pace of the worker's last jobs; several at once take less."""
    waiting = await store.count_waiting(tx, caller.tenant.id, COUNTED)
    pace = await texts_per_second(tx, caller.tenant.id, now)
    return max(1, math.ceil(waiting / (pace or UNMEASURED)))


async def tell_batch(tx: Tx, resources: Resources, caller: Caller, row: store.Batch) -> None:
    """Say that every item of a batch has ended, to whoever listens and to the URL that came with it."""
    drafts, letters = batch_notice(caller.tenant, row)
    await publish_all(tx, [*drafts, *(one.draft for one in letters)])
    await adhoc.post(tx, resources, letters)


async def tell_judged(tx: Tx, resources: Resources, caller: Caller, judged: Judged, url: str) -> None:
    """Say to a URL that a batch was answered at once."""
    total, succeeded, now = len(judged.outcomes), len(judged.found), resources.clock.now()
    row = store.Batch(
        caller.tenant.id,
        judged.id,
        now,
        caller.kind,
        caller.credential_id,
        url,
        total,
        succeeded,
        total - succeeded,
        now,
    )
    await tell_batch(tx, resources, caller, row)


def _input(caller: Caller, batch_id: UUID, place: int, item: Item, resources: Resources) -> Input:
    now = resources.clock.now()
    problem = item.wanted if isinstance(item.wanted, Problem) else None
    return Input(
        tenant_id=caller.tenant.id,
        id=id_at(now),
        at=now,
        batch_id=batch_id,
        place=place,
        name=item.name and item.name.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        kind=caller.kind,
        credential=caller.credential_id,
        project_id=caller.project_id,
        state="queued" if problem is None else "failed",
        packed=None if problem is not None else pack(_bound(caller, item.asked)),
        error=None if problem is None else error_of(problem, resources.settings.public_url),
        finished_at=None if problem is None else now,
    )


def _bound(caller: Caller, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked with the policy that the caller's key is bound to, where it names none itself."""
    if caller.policy_id is None or asked.get("policy") is not None:
        return asked
    return asked | {"policy": str(caller.policy_id)}
