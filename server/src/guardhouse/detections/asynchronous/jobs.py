"""Judge what waits, a hundred texts to a job; what fails for the moment is tried again, later each time."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.detections.asynchronous import store
from guardhouse.detections.asynchronous.judge_inputs import (
    Result,
    batch_notice,
    failure_of,
    judge_inputs,
)
from guardhouse.detections.asynchronous.worker_desk import NoDesk, borrowed
from guardhouse.detections.records.store import USUAL_DAYS
from guardhouse.detections.records.write import Days, write
from guardhouse.detections.usage_of import usage_of
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.jobs import GiveUp, JobContext, Retry, When, enqueue, every, job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices.publish import publish_all
from guardhouse.usage.judged_later import row_of, write_judged_later
from guardhouse.usage.log import Judged, UsageRow
from guardhouse.webhooks import adhoc

PAUSES: Final = (1, 5, 30, 120, 600)  # seconds before another try
PRUNED_AT_ONCE: Final = 5_000
ALONE, IN_BATCH = "/api/v1/detect/async", "/api/v1/detect/batch"  # the doors that usage names
_NO_DESK_SECONDS: Final = 1.0


class Work(msgspec.Struct):
    """Which inputs to judge; ``tries`` were made before."""

    ids: list[UUID]
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Effort:
    """How often these inputs were tried before, and how long judging them took now."""

    tries: int
    took_us: int


@job("detections.judge", lease_seconds=120)
async def judge(context: JobContext, work: Work) -> None:
    """Judge inputs, and write records, ends and notices in one transaction."""
    resources, tenant = context.resources, context.tenant
    if tenant is None:
        raise GiveUp("a detection belongs to a tenant")
    try:
        async with borrowed(resources) as desk:
            async with system_transaction(resources.database) as tx:
                inputs = await store.load_inputs(tx, tenant.id, work.ids)
            begun = time.monotonic_ns()
            results = await judge_inputs(desk, tenant, inputs)
            took_us = (time.monotonic_ns() - begun) // 1_000
    except NoDesk:
        raise Retry(_NO_DESK_SECONDS, "no desk") from None
    async with system_transaction(resources.database) as tx:
        await _finish(tx, resources, tenant, results, Effort(work.tries, took_us))


@every(3600, "detections.prune_inputs")
async def prune_inputs(context: JobContext) -> None:
    """Forget what became of inputs a month ago, and URLs that nothing goes to any more."""
    database, now = context.resources.database, context.resources.clock.now()
    gone = PRUNED_AT_ONCE
    while gone == PRUNED_AT_ONCE:
        async with system_transaction(database) as tx:
            gone = await store.prune(tx, now - timedelta(days=USUAL_DAYS), PRUNED_AT_ONCE)
    async with system_transaction(database) as tx:
        await adhoc.prune(tx, now)


async def _finish(
    tx: Tx, resources: Resources, tenant: TenantKey, results: Sequence[Result], effort: Effort
) -> None:
    now, public_url = resources.clock.now(), resources.settings.public_url
    again = [one.given.id for one in results if one.passing and effort.tries < len(PAUSES)]
    ended = {one.given.id: one.ended(public_url) for one in results if one.given.id not in again}
    new = await store.end_inputs(tx, tenant.id, list(ended.values()), now)
    over = [one for one in results if one.given.id in new]
    await write(tx, resources, [one.entry for one in over if one.entry is not None], Days(set()))
    await write_judged_later(tx, now, _usage(tenant, over, effort.took_us, now))
    drafts, letters = [], []
    for one in over:
        error = ended[one.given.id].error
        if error is not None:
            told, sent = failure_of(tenant, one, error)
            drafts += told
            letters += sent
    batches = Counter((one.given.batch_id, one.entry is not None) for one in over if one.given.batch_id)
    for batch_id in sorted({batch_id for batch_id, _ in batches}):
        counts = batches[batch_id, True], batches[batch_id, False]
        batch = await store.count_up(tx, tenant.id, batch_id, counts, now)
        if batch is not None:
            told, sent = batch_notice(tenant, batch)
            drafts += told
            letters += sent
    await publish_all(tx, [*drafts, *(one.draft for one in letters)])
    await adhoc.post(tx, resources, letters)
    if again:
        when = When(run_at=now + timedelta(seconds=PAUSES[effort.tries]))
        await enqueue(tx, judge, Work(again, effort.tries + 1), tenant=tenant, when=when)


def _usage(
    tenant: TenantKey, over: Sequence[Result], took_us: int, now: datetime
) -> list[tuple[UsageRow, Judged]]:
    """Return what usage keeps of the texts that have a verdict now, for each caller and door; the time by share."""
    found = defaultdict(list)
    for one in over:
        if one.found is not None:
            given = one.given
            who = (given.kind, given.credential, given.project_id)
            found[who, ALONE if given.batch_id is None else IN_BATCH].append(one.found)
    judged = sum(map(len, found.values()))
    return [
        (row_of(now, tenant.id, who, door, took_us * len(some) // judged), usage_of(some))
        for (who, door), some in found.items()
    ]
