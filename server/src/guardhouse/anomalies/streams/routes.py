"""Routes of streams: list, make, show, pause and resume, delete."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response

from guardhouse.anomalies.configs.in_force import find_config
from guardhouse.anomalies.streams import change_stream as changing
from guardhouse.anomalies.streams import store
from guardhouse.anomalies.streams.append import StreamDeleted
from guardhouse.anomalies.streams.change_stream import ConfirmationMissing, StreamExists
from guardhouse.anomalies.streams.find_stream import ensure_defaults, reach_stream
from guardhouse.anomalies.streams.wire import (
    AnomalyStream,
    AnomalyStreamChange,
    AnomalyStreamList,
    AnomalyStreamRequest,
    members_of,
    stream_shape,
)
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("anomalies")
Reader = Annotated[Caller, Depends(Require("anomalies:read"))]
Admin = Annotated[Caller, Depends(Require("anomalies:admin"))]
StreamName = Annotated[str, Path(max_length=80, description="Id or slug.", examples=["logs"])]


@router.get("/streams", operation_id="list_anomaly_streams", response_model=AnomalyStreamList)
async def list_anomaly_streams(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage
) -> dict[str, Any]:
    """List the streams in order of making."""
    now = shared.clock.now()
    await ensure_defaults(tx, caller.tenant, now)
    config = await find_config(tx, caller.tenant, now)
    after = 0 if page.after is None else page.after[0]
    rows = await store.list_streams(tx, caller.tenant.no, page.limit + 1, after)
    return page.answer(rows, lambda row: (row.no,), lambda row: stream_shape(row, config, now))


@router.post(
    "/streams",
    status_code=201,
    operation_id="create_anomaly_stream",
    responses=refusals(StreamExists, Conflict),
)
async def create_anomaly_stream(
    caller: Admin, tx: RequestTx, shared: Shared, wanted: AnomalyStreamRequest, response: Response
) -> AnomalyStream:
    """Make a stream. Its first events teach it what is usual; until then it judges nothing."""
    now = shared.clock.now()
    made = await changing.create_stream(tx, caller, wanted.slug, wanted.type, wanted.session_key, now)
    response.headers["ETag"] = etag(made.version)
    return stream_shape(made, await find_config(tx, caller.tenant, now), now)


@router.get(
    "/streams/{stream_id}", operation_id="get_anomaly_stream", responses=refusals(NotFound, StreamDeleted)
)
async def get_anomaly_stream(
    caller: Reader, tx: RequestTx, shared: Shared, stream_id: StreamName, response: Response
) -> AnomalyStream:
    """Show one stream."""
    now = shared.clock.now()
    found = await reach_stream(tx, caller.tenant, stream_id, now)
    if found.deleted_at is not None:
        raise StreamDeleted("The stream was deleted.")
    response.headers["ETag"] = etag(found.version)
    return stream_shape(found, await find_config(tx, caller.tenant, now), now)


@router.patch(
    "/streams/{stream_id}",
    operation_id="update_anomaly_stream",
    responses=refusals(NotFound, StreamDeleted, PreconditionFailed),
)
async def update_anomaly_stream(
    caller: Admin,
    tx: RequestTx,
    stream_id: StreamName,
    change: AnomalyStreamChange,
    request: Request,
    response: Response,
) -> AnomalyStream:
    """Pause a stream, which then takes no events, resume it, or change what tells its sessions apart."""
    now = resources_of(request).clock.now()
    known = await reach_stream(tx, caller.tenant, stream_id, now, lock=True)
    check_match(request.headers, known.version)
    changed = await changing.change_stream(tx, caller, known, members_of(change), now)
    response.headers["ETag"] = etag(changed.version)
    return stream_shape(changed, await find_config(tx, caller.tenant, now), now)


@router.delete(
    "/streams/{stream_id}",
    status_code=204,
    operation_id="delete_anomaly_stream",
    responses=refusals(NotFound, StreamDeleted, Conflict, ConfirmationMissing),
)
async def delete_anomaly_stream(
    caller: Admin,
    tx: RequestTx,
    shared: Shared,
    stream_id: StreamName,
    confirm: Annotated[str | None, Query(max_length=80, description="The stream's slug.")] = None,
) -> Response:
    """Delete a stream with its events and what was learned of them; anomalies and evidence stay."""
    now = shared.clock.now()
    known = await reach_stream(tx, caller.tenant, stream_id, now, lock=True)
    await changing.delete_stream(tx, caller, known, confirm, now)
    return Response(status_code=204)
