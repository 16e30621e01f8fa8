"""Routes of many texts, of texts judged by the worker, and of one detection by its id."""

import asyncio
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import Depends, Request, Response

from guardhouse.detections.asynchronous import read, store
from guardhouse.detections.asynchronous.accept import (
    Asked,
    NowhereToDeliver,
    accept,
    accept_batch,
    tell_judged,
)
from guardhouse.detections.asynchronous.judge_inputs import EngineFailed
from guardhouse.detections.asynchronous.wire import (
    AcceptedShape,
    BatchRequest,
    BatchShape,
    BatchState,
    WaitingShape,
)
from guardhouse.detections.batches.detect_batch import answer_of, detect_batch
from guardhouse.detections.batches.read_batch import (
    MOST_AT_ONCE,
    BatchSize,
    BatchTooLong,
    DuplicateItem,
    read_batch,
)
from guardhouse.detections.check_url import TooManyUrls, check_url
from guardhouse.detections.decode_body import decode
from guardhouse.detections.desk import Desk
from guardhouse.detections.read_request import (
    MemberInvalid,
    MetadataTooLarge,
    ObjectExpected,
    TextEmpty,
    TextRequired,
    TextTooLong,
    TextType,
    ThresholdRange,
    UnknownChoice,
    UnknownConfig,
    wanted_of,
)
from guardhouse.detections.records import read as records
from guardhouse.detections.records.read import DetectionGone
from guardhouse.detections.records.wire import RecordedDetection
from guardhouse.detections.usage_of import usage_of
from guardhouse.detections.wire import DetectionRequest
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    JSON_TYPE,
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    takes_body,
    tenant_transaction,
    two_step,
)
from guardhouse.identity.caller import Caller, Require
from guardhouse.usage.log import Judged
from guardhouse.usage.refusals import BatchOverLimit
from guardhouse.webhooks.endpoints import WebhookUrlRefused

BATCH_BYTES: Final = 8 << 20
LOOKS: Final = 6
LOOK_AGAIN_SECONDS: Final = 0.05
router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("detect:read"))]
Asker = Annotated[Caller, Depends(Require("detect:write"))]


async def read_asked(caller: Asker, shared: Shared, request: Request) -> Asked:
    """Read an asynchronous call, and judge its URL before a transaction begins."""
    value, warnings, replaced = decode(await request.body())
    if not isinstance(value, dict):
        raise ObjectExpected("The body must be a JSON object with `text`.", "")
    wanted = wanted_of(value, warnings, replaced=replaced)
    if wanted.webhook_url is not None:
        await check_url(shared, caller, wanted.webhook_url)
    return Asked(value, wanted, tuple(warnings), replaced)


@router.post(
    "/detect/batch",
    operation_id="detect_batch",
    openapi_extra=raw_body({JSON_TYPE: (BatchRequest,)}, "The texts and how to judge them."),
    responses={
        200: {"model": BatchShape, "description": "A result or an error per item."},
        202: {"model": AcceptedShape, "description": "Taken for the worker."},
        **refusals(
            BatchSize,
            DuplicateItem,
            BatchTooLong,
            MemberInvalid,
            WebhookUrlRefused,
            TooManyUrls,
            BatchOverLimit,
        ),
    },
)
@two_step
@takes_body(BATCH_BYTES)
async def judge_batch(caller: Asker, shared: Shared, request: Request) -> Response:
    """Judge up to a hundred texts at once, each as a call of its own; more, or on wish, by the worker.

    `Prefer: respond-async` or more than 100 items (to 1,000) give 202 and a place to look. Each item counts for the
    rate limits; a batch passes whole or not at all.
    """
    batch = read_batch(await request.body())
    if batch.webhook_url is not None:
        await check_url(shared, caller, batch.webhook_url)
    if len(batch.items) > 1:
        request.state.verdict = await request.app.state.admit(caller, len(batch.items) - 1)
    if len(batch.items) > MOST_AT_ONCE or "respond-async" in request.headers.get("prefer", "").lower():
        async with tenant_transaction(shared, caller.tenant) as tx:
            body = await accept_batch(tx, shared, caller, batch)
        request.state.judged = _not_yet(len(batch.items))
        return _accepted(body)
    desk: Desk = request.app.state.detection_desk
    judged = await detect_batch(desk, caller, batch)
    request.state.judged = usage_of(judged.found, len(batch.items))
    if batch.webhook_url is not None:
        async with tenant_transaction(shared, caller.tenant) as tx:
            await tell_judged(tx, shared, caller, judged, batch.webhook_url)
    return Response(msgspec.json.encode(answer_of(judged, shared.settings.public_url)), media_type=JSON_TYPE)


@router.post(
    "/detect/async",
    operation_id="detect_later",
    status_code=202,
    openapi_extra=raw_body({JSON_TYPE: (DetectionRequest,)}, "The text and how to judge it."),
    responses={
        202: {"model": AcceptedShape, "description": "Taken for the worker."},
        **refusals(
            ObjectExpected,
            TextRequired,
            TextType,
            TextEmpty,
            TextTooLong,
            UnknownChoice,
            UnknownConfig,
            ThresholdRange,
            MemberInvalid,
            MetadataTooLarge,
            NowhereToDeliver,
            WebhookUrlRefused,
            TooManyUrls,
        ),
    },
)
async def judge_later(
    caller: Asker,
    asked: Annotated[Asked, Depends(read_asked)],
    tx: RequestTx,
    shared: Shared,
    request: Request,
) -> Response:
    """Take a text for the worker: the verdict is delivered to `webhook_url`, or to webhooks that hear of it."""
    body = await accept(tx, shared, caller, asked)
    request.state.judged = _not_yet(1)
    return _accepted(body)


@router.get(
    "/detect/batch/{batch_id}",
    operation_id="get_detection_batch",
    response_model=BatchState,
    responses=refusals(NotFound),
)
async def get_detection_batch(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage, batch_id: UUID
) -> dict[str, Any]:
    """Show an asynchronous batch: its counts, and its items in their order, each with its result or error."""
    batch = await store.find_batch(tx, caller.tenant.id, batch_id)
    if batch is None:
        raise NotFound("There is no such batch.")
    after = -1 if page.after is None else page.after[0]
    items = await read.items_of(tx, batch, after, page.limit + 1, shared.clock.now())
    return read.batch_body(batch) | {
        "items": page.answer(items, lambda one: (one["place"],), lambda one: one)
    }


@router.get(
    "/detect/{detection_id}",
    operation_id="get_detection",
    responses={
        200: {
            "model": RecordedDetection | WaitingShape,
            "description": "The verdict as it was answered, without excerpts; or how far an asynchronous call is.",
        },
        **refusals(NotFound, DetectionGone, EngineFailed),
    },
)
async def get_detection(caller: Reader, shared: Shared, detection_id: UUID) -> Response:
    """Show a detection. One that was just made is waited for: records are written behind the answers."""
    now = shared.clock.now()
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        async with tenant_transaction(shared, caller.tenant) as tx:
            body = await records.find(tx, caller.tenant.id, detection_id, now) or await read.find(
                tx, caller.tenant.id, detection_id
            )
        if body is not None:
            return Response(msgspec.json.encode(body), media_type=JSON_TYPE)
        if not records.may_come(detection_id, now):
            break
    async with tenant_transaction(shared, caller.tenant) as tx:
        raise await records.absent(tx, caller.tenant.id, detection_id, now)


def _accepted(body: dict[str, Any]) -> Response:
    headers = {"Location": body["status_url"], "Retry-After": "1"}
    return Response(msgspec.json.encode(body), 202, headers, JSON_TYPE)


def _not_yet(items: int) -> Judged:
    """Return what usage keeps of texts that the worker will judge."""
    return Judged(items, None, {}, (), 0, None, degraded=False, cached=None)
