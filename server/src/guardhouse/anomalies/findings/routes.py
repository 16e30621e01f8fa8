"""Routes of anomalies: list, show, say what people make of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.anomalies.findings import store
from guardhouse.anomalies.findings.change_status import change_status
from guardhouse.anomalies.findings.wire import (
    AnomalyList,
    AnomalyQuery,
    AnomalyShape,
    StatusChange,
    anomaly_shape,
    filters_of,
)
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("anomalies")
Reader = Annotated[Caller, Depends(Require("anomalies:read"))]
Writer = Annotated[Caller, Depends(Require("anomalies:write"))]


@router.get("/anomalies", operation_id="list_anomalies", response_model=AnomalyList)
async def list_anomalies(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[AnomalyQuery, Query()]
) -> dict[str, Any]:
    """List what alerted somebody, the newest first; `include` adds what did not."""
    before = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_anomalies(tx, caller.tenant.no, filters_of(wanted), page.limit + 1, before)
    return page.answer(rows, lambda row: (microseconds(row.timestamp), row.id.bytes), anomaly_shape)


@router.get("/anomalies/{anomaly_id}", operation_id="get_anomaly", responses=refusals(NotFound))
async def get_anomaly(
    caller: Reader,
    tx: RequestTx,
    anomaly_id: UUID,
    include: Annotated[
        str | None, Query(pattern=r"^heat_map$", description="`heat_map`: bits per byte of the line.")
    ] = None,
) -> AnomalyShape:
    """Show one anomaly."""
    found = await store.find_anomaly(tx, caller.tenant.no, anomaly_id)
    if found is None:
        raise NotFound("There is no such anomaly.")
    return anomaly_shape(found, heavy=include is not None)


@router.patch(
    "/anomalies/{anomaly_id}/status", operation_id="update_anomaly_status", responses=refusals(NotFound)
)
async def update_anomaly_status(
    caller: Writer, tx: RequestTx, shared: Shared, anomaly_id: UUID, change: StatusChange
) -> AnomalyShape:
    """Say what people make of an anomaly; the status that it has already changes nothing."""
    known = await store.find_anomaly(tx, caller.tenant.no, anomaly_id, lock=True)
    if known is None:
        raise NotFound("There is no such anomaly.")
    now = shared.clock.now()
    return anomaly_shape(await change_status(tx, caller, known, change.status, change.notes, now))
