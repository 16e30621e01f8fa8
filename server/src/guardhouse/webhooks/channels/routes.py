"""Routes of alert channels: make, look, change, test, remove."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

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
from guardhouse.webhooks import endpoints, queries
from guardhouse.webhooks.channels import edit, sample, store
from guardhouse.webhooks.channels.config import ChannelConfig
from guardhouse.webhooks.channels.edit import MailNotConfigured, NewChannel
from guardhouse.webhooks.channels.wire import (
    ChannelChange,
    ChannelList,
    ChannelRequest,
    ChannelShape,
    ChannelTestRequest,
    ChannelTestShape,
    NewChannelShape,
    channel_shape,
    quiet_of,
    test_shape,
)
from guardhouse.webhooks.endpoints import WebhookUrlRefused
from guardhouse.webhooks.narrow import Filter
from guardhouse.webhooks.queries import Figures
from guardhouse.webhooks.store import Endpoint

READ, WRITE, REPLAY = "webhooks:read", "webhooks:write", "webhooks:replay"
router = api_router("channels")
Reader = Annotated[Caller, Depends(Require(READ))]
Writer = Annotated[Caller, Depends(Require(WRITE))]
Tester = Annotated[Caller, Depends(Require(REPLAY, WRITE))]
_NONE_YET = Figures(0, None, None, 0)


async def checked_new(_caller: Writer, shared: Shared, wanted: ChannelRequest) -> str | None:
    """Judge where a new channel goes before the transaction begins; returns a warning."""
    if wanted.kind == "email":
        return None
    return await endpoints.check_destination(
        shared.outbound, wanted.base_url if wanted.kind == "pagerduty" else wanted.url
    )


async def checked_change(_caller: Writer, shared: Shared, change: ChannelChange) -> None:
    """Judge where a changed channel goes before the transaction begins."""
    for url in (change.url, change.base_url):
        if url is not None:
            await endpoints.check_destination(shared.outbound, url)


@router.post(
    "/channels",
    status_code=201,
    operation_id="create_channel",
    responses=refusals(Conflict, MailNotConfigured, WebhookUrlRefused),
)
async def create_channel(
    caller: Writer,
    warning: Annotated[str | None, Depends(checked_new)],
    tx: RequestTx,
    shared: Shared,
    wanted: ChannelRequest,
    response: Response,
) -> NewChannelShape:
    """Make a channel to a webhook, to Slack, to PagerDuty or by mail."""
    made, secret = await edit.make(tx, shared, caller, _new(wanted))
    response.headers["ETag"] = etag(made.version)
    response.headers["Location"] = f"/api/v1/channels/{made.id}"
    return NewChannelShape(
        **channel_shape(made, _NONE_YET).model_dump(),
        secret=secret if made.channel == "webhook" else None,
        warning=warning,
    )


@router.get("/channels", operation_id="list_channels", response_model=ChannelList)
async def list_channels(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List channels, oldest first, with how they fare."""
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await store.list_channels(tx, caller.tenant.id, after=after, limit=page.limit + 1)
    figures = await queries.figures_of(tx, caller.tenant.id, [row.id for row in rows])
    return page.answer(rows, lambda row: (row.id.bytes,), lambda row: channel_shape(row, figures[row.id]))


@router.get("/channels/{channel_id}", operation_id="get_channel", responses=refusals(NotFound))
async def get_channel(caller: Reader, tx: RequestTx, channel_id: UUID, response: Response) -> ChannelShape:
    """Show one channel and how it fares."""
    return await _shown(tx, await edit.get(tx, caller, channel_id), response)


@router.patch(
    "/channels/{channel_id}",
    operation_id="update_channel",
    responses=refusals(NotFound, WebhookUrlRefused, PreconditionFailed),
    dependencies=[Depends(checked_change)],
)
async def update_channel(  # noqa: PLR0913, PLR0917 - what a route asks for is what its signature says
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    channel_id: UUID,
    change: ChannelChange,
    request: Request,
    response: Response,
) -> ChannelShape:
    """Change a channel; members that are absent stay."""
    found = await edit.get(tx, caller, channel_id, lock=True)
    check_match(request.headers, found.version)
    changed = await edit.change(tx, shared, caller, found, _changes(change))
    return await _shown(tx, changed, response)


@router.delete(
    "/channels/{channel_id}", status_code=204, operation_id="delete_channel", responses=refusals(NotFound)
)
async def delete_channel(caller: Writer, tx: RequestTx, shared: Shared, channel_id: UUID) -> Response:
    """Remove a channel; what is pending for it is cancelled."""
    await edit.remove(tx, shared, caller, await edit.get(tx, caller, channel_id, lock=True))
    return Response(status_code=204)


@router.post("/channels/{channel_id}/test", operation_id="test_channel", responses=refusals(NotFound))
@two_step
async def try_channel(
    caller: Tester, shared: Shared, channel_id: UUID, wanted: ChannelTestRequest | None = None
) -> ChannelTestShape:
    """Send a sample now and tell how it went; nothing is tried again."""
    async with tenant_transaction(shared, caller.tenant) as tx:
        found = await edit.get(tx, caller, channel_id)
    return test_shape(await sample.send_sample(shared, found, (wanted or ChannelTestRequest()).kind))


async def _shown(tx: RequestTx, found: Endpoint, response: Response) -> ChannelShape:
    response.headers["ETag"] = etag(found.version)
    figures = await queries.figures_of(tx, found.tenant_id, [found.id])
    return channel_shape(found, figures[found.id])


def _new(wanted: ChannelRequest) -> NewChannel:
    config = ChannelConfig(
        name=wanted.name,
        group_seconds=wanted.group_seconds,
        max_per_hour=wanted.max_per_hour,
        escalations=wanted.escalations,
        stream=wanted.stream,
        quiet_hours=quiet_of(wanted.quiet_hours),
        to=tuple(wanted.to) if wanted.kind == "email" else (),
    )
    target, secret = _target(wanted)
    narrowed = Filter(min_severity=wanted.min_severity, project_id=wanted.project_id)
    return NewChannel(wanted.kind, config, tuple(wanted.kinds), narrowed, target, secret)


def _target(wanted: ChannelRequest) -> tuple[str, str | None]:
    """Return where a channel goes as shown, and what is secret of it."""
    match wanted.kind:
        case "slack":
            return edit.shown(wanted.url), wanted.url
        case "pagerduty":
            return wanted.base_url, wanted.routing_key
        case "email":
            return "mailto:", None
        case "webhook":
            return wanted.url, None


def _changes(change: ChannelChange) -> dict[str, Any]:
    """Return the members that were sent, in the stored form; null stands for the default where there is one."""
    clearable = {"project_id", "stream", "quiet_hours"}
    sent = {name: getattr(change, name) for name in change.model_fields_set}
    found = {name: value for name, value in sent.items() if value is not None or name in clearable}
    if "quiet_hours" in found:
        found["quiet_hours"] = quiet_of(change.quiet_hours)
    if "to" in found:
        found["to"] = tuple(found["to"])
    return found
