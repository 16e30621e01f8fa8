"""The short paths `/webhooks/…`: the same endpoints, in the shapes of earlier products, for the calling key only."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router, tenant_transaction, two_step
from guardhouse.identity.caller import Caller, Require
from guardhouse.webhooks import endpoints, queries, sample, store
from guardhouse.webhooks.aliases.wire import (
    NewRegisteredWebhook,
    RegisteredList,
    RegisteredWebhook,
    ShortDeliveryList,
    ShortTestRequest,
    WebhookRegistration,
    registered_shape,
    short_delivery,
)
from guardhouse.webhooks.endpoints import MOST, NewEndpoint, WebhookUrlRefused
from guardhouse.webhooks.queries import Asked
from guardhouse.webhooks.wire import TestShape, test_shape

WRITE, READ, OWN = "webhooks:write", "webhooks:read", "webhooks:own"
SHOWN = 100
router = api_router("webhooks", prefix="")
Writer = Annotated[Caller, Depends(Require(WRITE, OWN))]
Reader = Annotated[Caller, Depends(Require(READ, WRITE, OWN))]


async def checked(_caller: Writer, shared: Shared, wanted: WebhookRegistration) -> None:
    """Judge the URL before the transaction begins."""
    await endpoints.check_destination(shared.outbound, wanted.url)


@router.post(
    "/webhooks/register",
    status_code=201,
    operation_id="register_webhook",
    responses=refusals(Conflict, WebhookUrlRefused),
    dependencies=[Depends(checked)],
)
async def register_webhook(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    wanted: WebhookRegistration,
) -> NewRegisteredWebhook:
    """Register an endpoint that hears of the calling key."""
    new = NewEndpoint(
        wanted.url, tuple(wanted.events), description=wanted.description, secret=wanted.secret_token
    )
    narrowed, own = endpoints.narrowed(caller, new, caller.credential_id)
    made, secret = await endpoints.register(tx, shared, caller, narrowed, own=own)
    shown = None if wanted.secret_token else secret
    return NewRegisteredWebhook(**registered_shape(made).model_dump(), secret=shown)


@router.get("/webhooks/list", operation_id="list_registered_webhooks")
async def list_registered_webhooks(caller: Reader, tx: RequestTx) -> RegisteredList:
    """List the endpoints that the calling key registered."""
    asked = store.Listed(("webhook",), caller.credential_id)
    found = await store.list_endpoints(tx, caller.tenant.id, asked, MOST)
    return RegisteredList(webhooks=[registered_shape(one) for one in found], total=len(found))


@router.post(
    "/webhooks/test", operation_id="test_registered_webhook", responses=refusals(NotFound, WebhookUrlRefused)
)
@two_step
async def try_registered_webhook(caller: Writer, shared: Shared, wanted: ShortTestRequest) -> TestShape:
    """Send a signed sample now to an endpoint of the calling key, or to a URL with a secret nobody keeps."""
    if wanted.url is not None:
        await endpoints.check_destination(shared.outbound, wanted.url)
        destination = sample.throwaway(wanted.url)
        return test_shape(await sample.send_sample(shared, destination, None, "webhook.test"))
    async with tenant_transaction(shared, caller.tenant) as tx:
        found = await _own(tx, caller, wanted.webhook_id or UUID(int=0))
    destination = sample.destination_of(shared, found)
    return test_shape(await sample.send_sample(shared, destination, found, "webhook.test"))


@router.put(
    "/webhooks/{webhook_id}/toggle", operation_id="toggle_registered_webhook", responses=refusals(NotFound)
)
async def toggle_registered_webhook(
    caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID
) -> RegisteredWebhook:
    """Flip `is_active`."""
    found = await _own(tx, caller, webhook_id)
    act = endpoints.disable if found.takes else endpoints.enable
    return registered_shape(await act(tx, shared, caller, found))


@router.delete(
    "/webhooks/{webhook_id}",
    status_code=204,
    operation_id="delete_registered_webhook",
    responses=refusals(NotFound),
)
async def delete_registered_webhook(
    caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID
) -> Response:
    """Remove an endpoint of the calling key."""
    await endpoints.remove(tx, shared, caller, await _own(tx, caller, webhook_id))
    return Response(status_code=204)


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    operation_id="list_registered_deliveries",
    responses=refusals(NotFound),
)
async def list_registered_deliveries(caller: Reader, tx: RequestTx, webhook_id: UUID) -> ShortDeliveryList:
    """List the newest hundred deliveries of an endpoint of the calling key."""
    found = await endpoints.get(tx, caller, webhook_id, owner=caller.credential_id)
    rows = await queries.list_deliveries(tx, caller.tenant.id, Asked(endpoint_id=found.id), SHOWN)
    return ShortDeliveryList(webhook_id=found.id, deliveries=[short_delivery(row) for row in rows])


async def _own(tx: RequestTx, caller: Caller, webhook_id: UUID) -> store.Endpoint:
    return await endpoints.get(tx, caller, webhook_id, owner=caller.credential_id, lock=True)
