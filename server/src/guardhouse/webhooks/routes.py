"""Routes of webhook endpoints: register, look, change, test, rotate, stop, go on, remove."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    tenant_transaction,
    two_step,
)
from guardhouse.identity.caller import Caller, Require
from guardhouse.webhooks import adhoc, endpoints, queries, sample, store
from guardhouse.webhooks.endpoints import WebhookUrlRefused
from guardhouse.webhooks.queries import Figures
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.wire import (
    AdhocSecretShape,
    NewWebhookShape,
    RotateSecretRequest,
    SecretShape,
    TestRequest,
    TestShape,
    WebhookChange,
    WebhookList,
    WebhookRequest,
    WebhookShape,
    changes_of,
    new_endpoint_of,
    test_shape,
    webhook_shape,
)

READ, WRITE, REPLAY, OWN = "webhooks:read", "webhooks:write", "webhooks:replay", "webhooks:own"
router = api_router("webhooks")
Reader = Annotated[Caller, Depends(Require(READ, OWN))]
Writer = Annotated[Caller, Depends(Require(WRITE, OWN))]
Admin = Annotated[Caller, Depends(Require(WRITE))]
Tester = Annotated[Caller, Depends(Require(REPLAY, WRITE, OWN))]
NONE_YET = Figures(0, None, None, 0)


async def checked_new(_caller: Writer, shared: Shared, wanted: WebhookRequest) -> str | None:
    """Judge the URL of a new endpoint before the transaction begins; returns a warning."""
    return await endpoints.check_destination(shared.outbound, wanted.url)


async def checked_change(_caller: Writer, shared: Shared, change: WebhookChange) -> None:
    """Judge the new URL of an endpoint before the transaction begins."""
    if change.url is not None:
        await endpoints.check_destination(shared.outbound, change.url)


@router.post(
    "/webhooks",
    status_code=201,
    operation_id="create_webhook",
    responses=refusals(Conflict, WebhookUrlRefused),
)
async def create_webhook(
    caller: Writer,
    warning: Annotated[str | None, Depends(checked_new)],
    tx: RequestTx,
    shared: Shared,
    wanted: WebhookRequest,
    response: Response,
) -> NewWebhookShape:
    """Register an endpoint; the secret that signs is in this answer and nowhere else."""
    new, own = endpoints.narrowed(caller, new_endpoint_of(wanted), endpoints.owner_of(caller, WRITE))
    made, secret = await endpoints.register(tx, shared, caller, new, own=own)
    response.headers["ETag"] = etag(made.version)
    response.headers["Location"] = f"/api/v1/webhooks/{made.id}"
    return NewWebhookShape(**webhook_shape(made, NONE_YET).model_dump(), secret=secret, warning=warning)


@router.get("/webhooks", operation_id="list_webhooks", response_model=WebhookList)
async def list_webhooks(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List endpoints, oldest first, with how they fare."""
    after = None if page.after is None else UUID(bytes=page.after[0])
    owner = endpoints.owner_of(caller, READ)
    rows = await store.list_endpoints(
        tx, caller.tenant.id, store.Listed(("webhook",), owner, after), page.limit + 1
    )
    figures = await queries.figures_of(tx, caller.tenant.id, [row.id for row in rows])
    return page.answer(rows, lambda row: (row.id.bytes,), lambda row: webhook_shape(row, figures[row.id]))


@router.get("/webhooks/adhoc-secret", operation_id="get_adhoc_secret")
async def get_adhoc_secret(caller: Admin, shared: Shared) -> AdhocSecretShape:
    """Show the secret that signs deliveries to a `webhook_url` that came with a call."""
    return AdhocSecretShape(secret=adhoc.secret_of(shared, caller.tenant.id))


@router.get("/webhooks/{webhook_id}", operation_id="get_webhook", responses=refusals(NotFound))
async def get_webhook(caller: Reader, tx: RequestTx, webhook_id: UUID, response: Response) -> WebhookShape:
    """Show one endpoint and how it fares."""
    found = await endpoints.get(tx, caller, webhook_id, owner=endpoints.owner_of(caller, READ))
    return await _shown(tx, found, response)


@router.patch(
    "/webhooks/{webhook_id}",
    operation_id="update_webhook",
    responses=refusals(NotFound, WebhookUrlRefused, PreconditionFailed),
    dependencies=[Depends(checked_change)],
)
async def update_webhook(  # noqa: PLR0913, PLR0917 - what a route asks for is what its signature says
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    webhook_id: UUID,
    change: WebhookChange,
    request: Request,
    response: Response,
) -> WebhookShape:
    """Change an endpoint; members that are absent stay."""
    found = await _own(tx, caller, webhook_id)
    check_match(request.headers, found.version)
    changed = await endpoints.change(tx, shared, caller, found, changes_of(change))
    return await _shown(tx, changed, response)


@router.delete(
    "/webhooks/{webhook_id}", status_code=204, operation_id="delete_webhook", responses=refusals(NotFound)
)
async def delete_webhook(caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID) -> Response:
    """Remove an endpoint; what is pending for it is cancelled."""
    await endpoints.remove(tx, shared, caller, await _own(tx, caller, webhook_id))
    return Response(status_code=204)


@router.post("/webhooks/{webhook_id}/test", operation_id="test_webhook", responses=refusals(NotFound))
@two_step
async def try_webhook(
    caller: Tester, shared: Shared, webhook_id: UUID, wanted: TestRequest | None = None
) -> TestShape:
    """Send a signed sample now and tell how it went; nothing is tried again."""
    owner = endpoints.owner_of(caller, WRITE, REPLAY)
    async with tenant_transaction(shared, caller.tenant) as tx:
        found = await endpoints.get(tx, caller, webhook_id, owner=owner)
    kind = (wanted or TestRequest()).kind
    tried = await sample.send_sample(shared, sample.destination_of(shared, found), found, kind)
    async with tenant_transaction(shared, caller.tenant) as tx:
        await sample.say_tested(tx, found)
    return test_shape(tried)


@router.post(
    "/webhooks/{webhook_id}/rotate-secret",
    operation_id="rotate_webhook_secret",
    responses=refusals(NotFound),
)
async def rotate_webhook_secret(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    webhook_id: UUID,
    wanted: RotateSecretRequest | None = None,
) -> SecretShape:
    """Make a new secret; the one before signs beside it until the grace ends."""
    grace = (wanted or RotateSecretRequest()).grace_seconds
    found = await _own(tx, caller, webhook_id)
    changed, secret = await endpoints.rotate_secret(tx, shared, caller, found, grace)
    until = changed.previous_until
    return SecretShape(id=changed.id, secret=secret, previous_secret_until=rfc3339(until) if until else None)


@router.delete(
    "/webhooks/{webhook_id}/previous-secret",
    operation_id="delete_previous_webhook_secret",
    responses=refusals(NotFound),
)
async def delete_previous_webhook_secret(
    caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID, response: Response
) -> WebhookShape:
    """End the secret before the present one now; repeatable."""
    changed = await endpoints.drop_previous(tx, shared, caller, await _own(tx, caller, webhook_id))
    return await _shown(tx, changed, response)


@router.post("/webhooks/{webhook_id}/enable", operation_id="enable_webhook", responses=refusals(NotFound))
async def enable_webhook(
    caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID, response: Response
) -> WebhookShape:
    """Let deliveries be made and sent again; what was missed meanwhile is a replay of mode `missing`."""
    changed = await endpoints.enable(tx, shared, caller, await _own(tx, caller, webhook_id))
    return await _shown(tx, changed, response)


@router.post("/webhooks/{webhook_id}/disable", operation_id="disable_webhook", responses=refusals(NotFound))
async def disable_webhook(
    caller: Writer, tx: RequestTx, shared: Shared, webhook_id: UUID, response: Response
) -> WebhookShape:
    """Stop an endpoint: nothing new is made for it, what is pending waits."""
    changed = await endpoints.disable(tx, shared, caller, await _own(tx, caller, webhook_id))
    return await _shown(tx, changed, response)


async def _own(tx: RequestTx, caller: Caller, webhook_id: UUID) -> Endpoint:
    owner = endpoints.owner_of(caller, WRITE)
    return await endpoints.get(tx, caller, webhook_id, owner=owner, lock=True)


async def _shown(tx: RequestTx, found: Endpoint, response: Response) -> WebhookShape:
    response.headers["ETag"] = etag(found.version)
    figures = await queries.figures_of(tx, found.tenant_id, [found.id])
    return webhook_shape(found, figures[found.id])
