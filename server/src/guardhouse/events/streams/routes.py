"""Routes of streams: what happened in a project by the minute, and what attacks sent."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.agents.projects.read import reach_project
from guardhouse.events.streams import read_streams as reading
from guardhouse.events.streams.read_streams import Payload
from guardhouse.events.streams.wire import (
    PayloadList,
    PayloadQuery,
    PayloadShape,
    StreamList,
    StreamQuery,
    stream_shape,
)
from guardhouse.foundation.clock import microseconds, rfc3339
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("events")
Reader = Annotated[Caller, Depends(Require("events:read"))]


@router.get(
    "/projects/{project_id}/streams",
    operation_id="list_streams",
    response_model=StreamList,
    responses=refusals(NotFound),
)
async def list_streams(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    project_id: UUID,
    wanted: Annotated[StreamQuery, Query()],
) -> dict[str, Any]:
    """List the sealed minutes of a project in order, each correction behind what it corrects."""
    project = await reach_project(tx, caller, project_id)
    span = reading.span_of(wanted, shared.clock.now())
    rows = await reading.read_streams(
        tx, (caller.tenant, project), wanted.route, span, page.limit + 1, page.after
    )
    return page.answer(rows, lambda row: (microseconds(row.minute), row.correction, row.route), stream_shape)


@router.get(
    "/projects/{project_id}/payloads",
    operation_id="list_payloads",
    response_model=PayloadList,
    responses=refusals(NotFound),
)
async def list_payloads(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    project_id: UUID,
    wanted: Annotated[PayloadQuery, Query()],
) -> dict[str, Any]:
    """List what attacks on a project sent, as far as its agents tell, in order of the events' ids."""
    project = await reach_project(tx, caller, project_id)
    span = reading.span_of(wanted, shared.clock.now())
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await reading.read_payloads(tx, (caller.tenant, project), span, page.limit + 1, after)
    return page.answer(rows, lambda row: (row.event_id.bytes,), _payload_shape)


def _payload_shape(payload: Payload) -> PayloadShape:
    return PayloadShape(
        event_id=payload.event_id.hex,
        timestamp=rfc3339(payload.at),
        event_type=payload.event_type,
        text=payload.text,
    )
