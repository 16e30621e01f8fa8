"""Routes of deliveries, dead letters and replays."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Response

from guardhouse.audit.record import Entry
from guardhouse.audit.record import record as audit
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.jobs import enqueue
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.foundation.window import Window
from guardhouse.identity.caller import Caller, Require
from guardhouse.webhooks import deliveries, endpoints, jobs, queries, replay
from guardhouse.webhooks.history.wire import (
    DeadLetterQuery,
    DeliveryDetail,
    DeliveryList,
    DeliveryQuery,
    DeliveryShape,
    DiscardedShape,
    DiscardRequest,
    ReplayRequest,
    ReplayShape,
    asked_replay,
    delivery_detail,
    delivery_shape,
    place_in,
    replay_shape,
)
from guardhouse.webhooks.jobs import ReplayWork
from guardhouse.webhooks.queries import Asked, place_of

READ, REPLAY, OWN = "webhooks:read", "webhooks:replay", "webhooks:own"
router = api_router("webhooks")
Reader = Annotated[Caller, Depends(Require(READ))]
OwnReader = Annotated[Caller, Depends(Require(READ, OWN))]
Replayer = Annotated[Caller, Depends(Require(REPLAY))]


@router.get("/webhooks/dead-letters", operation_id="list_dead_letters", response_model=DeliveryList)
async def list_dead_letters(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[DeadLetterQuery, Query()]
) -> dict[str, Any]:
    """List what gave up, the newest first: deliveries that used up their tries and were not sent again."""
    Window(since=wanted.since, until=wanted.until).check_order()
    asked = Asked(
        endpoint_id=wanted.webhook_id,
        kind=wanted.kind,
        since=wanted.since,
        until=wanted.until,
        dead=True,
        after=place_in(page.after),
    )
    rows = await queries.list_deliveries(tx, caller.tenant.id, asked, page.limit + 1)
    return page.answer(rows, place_of, delivery_shape)


@router.post("/webhooks/dead-letters/discard", operation_id="discard_dead_letters")
async def discard_dead_letters(
    caller: Replayer, tx: RequestTx, shared: Shared, wanted: DiscardRequest
) -> DiscardedShape:
    """Give up dead letters for good, by id or a thousand of one endpoint; a pending one is skipped too, by id.

    Skipping lets the messages behind it go where an endpoint keeps order.
    """
    ids = wanted.delivery_ids
    if ids is None:
        asked = Asked(endpoint_id=wanted.webhook_id, dead=True)
        rows = await queries.list_deliveries(tx, caller.tenant.id, asked, deliveries.AT_ONCE)
        ids = [row.id for row in rows]
    count = await deliveries.discard(tx, caller.tenant.id, ids, shared.clock.now())
    await audit(tx, caller.actor, Entry("webhook.discard", "webhook:dead-letters", after={"count": count}))
    return DiscardedShape(discarded=count)


@router.get("/webhooks/deliveries/{delivery_id}", operation_id="get_delivery", responses=refusals(NotFound))
async def get_delivery(caller: OwnReader, tx: RequestTx, delivery_id: UUID) -> DeliveryDetail:
    """Show one delivery: its tries with status, latency, signature and answer, and the exact bytes sent."""
    found = await deliveries.get(tx, caller, delivery_id, owner=endpoints.owner_of(caller, READ))
    body = await queries.get_body(tx, caller.tenant.id, found)
    return delivery_detail(found, await queries.list_attempts(tx, caller.tenant.id, found), body)


@router.post(
    "/webhooks/deliveries/{delivery_id}/retry",
    status_code=202,
    operation_id="retry_delivery",
    responses=refusals(NotFound, Conflict),
)
async def retry_delivery(caller: Replayer, tx: RequestTx, shared: Shared, delivery_id: UUID) -> DeliveryShape:
    """Try a delivery now that has not arrived; a dead letter gets its whole schedule again."""
    found = await deliveries.get(tx, caller, delivery_id, owner=None)
    again = await deliveries.retry(tx, caller, found, shared.clock.now())
    return delivery_shape(again)


@router.get("/webhooks/replays/{replay_id}", operation_id="get_webhook_replay", responses=refusals(NotFound))
async def get_webhook_replay(caller: Reader, tx: RequestTx, replay_id: UUID) -> ReplayShape:
    """Show how far a replay is."""
    return replay_shape(*await replay.get(tx, caller.tenant.id, replay_id))


@router.delete(
    "/webhooks/replays/{replay_id}", operation_id="cancel_webhook_replay", responses=refusals(NotFound)
)
async def cancel_webhook_replay(
    caller: Replayer, tx: RequestTx, shared: Shared, replay_id: UUID
) -> ReplayShape:
    """End a replay: what of it is not sent yet is cancelled."""
    found, _ = await replay.get(tx, caller.tenant.id, replay_id)
    ended = await replay.cancel(tx, shared, caller, found)
    await enqueue(tx, jobs.run_replay, ReplayWork(ended.id, ended.since))
    return replay_shape(*await replay.get(tx, caller.tenant.id, replay_id))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    response_model=DeliveryList,
    responses=refusals(NotFound),
)
async def list_deliveries(
    caller: OwnReader,
    tx: RequestTx,
    page: AskedPage,
    webhook_id: UUID,
    wanted: Annotated[DeliveryQuery, Query()],
) -> dict[str, Any]:
    """List an endpoint's deliveries, the newest first."""
    Window(since=wanted.since, until=wanted.until).check_order()
    found = await endpoints.get(tx, caller, webhook_id, owner=endpoints.owner_of(caller, READ))
    asked = Asked(
        endpoint_id=found.id,
        state=wanted.state,
        status=wanted.status,
        kind=wanted.kind,
        since=wanted.since,
        until=wanted.until,
        after=place_in(page.after),
    )
    rows = await queries.list_deliveries(tx, caller.tenant.id, asked, page.limit + 1)
    return page.answer(rows, place_of, delivery_shape)


@router.post(
    "/webhooks/{webhook_id}/replay",
    status_code=202,
    operation_id="create_webhook_replay",
    responses=refusals(NotFound, Conflict),
)
async def create_webhook_replay(
    caller: Replayer,
    tx: RequestTx,
    shared: Shared,
    webhook_id: UUID,
    wanted: ReplayRequest,
    response: Response,
) -> ReplayShape:
    """Send again: one message, a range, its failures, or what never arrived; same ids, same bytes."""
    found = await endpoints.get(tx, caller, webhook_id, owner=None)
    made = await replay.begin(tx, shared, caller, found, asked_replay(wanted))
    await enqueue(tx, jobs.run_replay, ReplayWork(made.id, made.since))
    response.headers["Location"] = f"/api/v1/webhooks/replays/{made.id}"
    return replay_shape(*await replay.get(tx, caller.tenant.id, made.id))
