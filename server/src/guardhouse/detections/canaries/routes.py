"""Routes of canaries: make, list, delete."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.detections.canaries import store
from guardhouse.detections.canaries.plant import forget, plant
from guardhouse.detections.canaries.wire import (
    CanaryList,
    CanaryRequest,
    NewCanaryShape,
    canary_shape,
    new_canary_shape,
)
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("policies:read", "policies:write"))]
Writer = Annotated[Caller, Depends(Require("policies:write"))]


@router.post("/canaries", status_code=201, operation_id="create_canary", responses=refusals(Conflict))
async def create_canary(
    caller: Writer, tx: RequestTx, request: Request, wanted: CanaryRequest
) -> NewCanaryShape:
    """Make a token to plant in a prompt or a document; it is in this answer, once.

    From now on it is found in answers and in texts to judge, also when it is encoded, turned or spread out.
    """
    made, token = await plant(tx, resources_of(request), caller, wanted.label, wanted.expires_in)
    return new_canary_shape(made, token)


@router.get("/canaries", operation_id="list_canaries", response_model=CanaryList)
async def list_canaries(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the canaries in order of making, expired ones too."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_canaries(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (microseconds(row.created_at), row.id.bytes), canary_shape)


@router.delete(
    "/canaries/{canary_id}", status_code=204, operation_id="delete_canary", responses=refusals(NotFound)
)
async def delete_canary(caller: Writer, tx: RequestTx, canary_id: UUID) -> Response:
    """Forget a canary: its token is a string like any other from now on."""
    await forget(tx, caller, canary_id)
    return Response(status_code=204)
