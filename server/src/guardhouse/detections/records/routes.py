"""Routes of recorded detections: one by its id, and the list."""

import asyncio
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import Depends, Query, Response

from guardhouse.detections.records import read, store
from guardhouse.detections.records.read import DetectionGone
from guardhouse.detections.records.store import Asked, Record
from guardhouse.detections.records.wire import DetectionList, DetectionQuery, RecordedDetection
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    JSON_TYPE,
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    tenant_transaction,
)
from guardhouse.identity.caller import Caller, Require

LOOKS: Final = 6
LOOK_AGAIN_SECONDS: Final = 0.05
router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("detect:read"))]


@router.get("/detections", operation_id="list_detections", response_model=DetectionList)
async def list_detections(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage, wanted: Annotated[DetectionQuery, Query()]
) -> dict[str, Any]:
    """List recorded detections, newest first."""
    wanted.check_order()
    equal = {
        "decision": wanted.decision,
        "channel": wanted.channel,
        "engine": wanted.engine,
        "degraded": wanted.degraded,
        "policy_id": wanted.policy,
        "credential": wanted.key,
        "agent_id": wanted.agent_id,
        "session_id": wanted.session_id,
    }
    asked = Asked(
        equal={name: value for name, value in equal.items() if value is not None},
        min_score=None if wanted.min_score is None else round(wanted.min_score * 1_000),
        threat_type=wanted.threat_type,
        since=wanted.since,
        until=wanted.until,
        after=None if page.after is None else UUID(bytes=page.after[0]),
    )
    rows = await store.list_records(tx, caller.tenant.id, shared.clock.now(), asked, page.limit + 1)
    return page.answer(rows, _place, read.body_of)


@router.get(
    "/detect/{detection_id}",
    operation_id="get_detection",
    responses={
        200: {"model": RecordedDetection, "description": "The verdict as it was answered, without excerpts."},
        **refusals(NotFound, DetectionGone),
    },
)
async def get_detection(caller: Reader, shared: Shared, detection_id: UUID) -> Response:
    """Show a recorded detection. One that was just made is waited for: records are written behind the answers."""
    now = shared.clock.now()
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        async with tenant_transaction(shared, caller.tenant) as tx:
            body = await read.find(tx, caller.tenant.id, detection_id, now)
        if body is not None:
            return Response(msgspec.json.encode(body), media_type=JSON_TYPE)
        if not read.may_come(detection_id, now):
            break
    raise read.absent(detection_id, now)


def _place(row: Record) -> tuple[bytes]:
    return (row.id.bytes,)
