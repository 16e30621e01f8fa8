"""The list of recorded detections."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.detections.records import read, store
from guardhouse.detections.records.store import Asked, Record
from guardhouse.detections.records.wire import DetectionList, DetectionQuery
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

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


def _place(row: Record) -> tuple[bytes]:
    return (row.id.bytes,)
