"""Routes of lists: make, list, show, change, take out."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.detections.lists import change_list as changing
from guardhouse.detections.lists import store
from guardhouse.detections.lists.change_list import reach_list
from guardhouse.detections.lists.entry import ListEntryInvalid
from guardhouse.detections.lists.wire import (
    ListChange,
    ListDetail,
    ListPage,
    ListRequest,
    entries_of,
    list_detail,
    list_shape,
)
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, PreconditionRequired, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("policies")
Reader = Annotated[Caller, Depends(Require("policies:read", "policies:write"))]
Writer = Annotated[Caller, Depends(Require("policies:write"))]


@router.post(
    "/lists",
    status_code=201,
    operation_id="create_list",
    responses=refusals(Conflict, ListEntryInvalid),
)
async def create_list(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: ListRequest, response: Response
) -> ListDetail:
    """Make a list; it is in force for the policies that name it."""
    entries = entries_of(wanted.entries)
    made = await changing.create_list(tx, caller, wanted.name, wanted.kind, entries, shared.clock.now())
    response.headers["ETag"] = etag(made.version)
    response.headers["Location"] = f"/api/v1/lists/{made.id}"
    return list_detail(made)


@router.get("/lists", operation_id="list_lists", response_model=ListPage)
async def list_lists(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the lists in order of making, without their entries."""
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await store.list_lists(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (row.id.bytes,), list_shape)


@router.get("/lists/{list_id}", operation_id="get_list", responses=refusals(NotFound))
async def get_list(caller: Reader, tx: RequestTx, list_id: UUID, response: Response) -> ListDetail:
    """Show a list with its entries."""
    found = await reach_list(tx, caller, list_id)
    response.headers["ETag"] = etag(found.version)
    return list_detail(found)


@router.patch(
    "/lists/{list_id}",
    operation_id="update_list",
    responses=refusals(NotFound, Conflict, ListEntryInvalid, PreconditionFailed, PreconditionRequired),
)
async def update_list(
    caller: Writer,
    tx: RequestTx,
    list_id: UUID,
    change: ListChange,
    request: Request,
    response: Response,
) -> ListDetail:
    """Rename a list or set its entries, everywhere within a second; If-Match names the version it changes."""
    known = await reach_list(tx, caller, list_id, lock=True)
    check_match(request.headers, known.version, required=True)
    wanted = replace(
        known,
        name=known.name if change.name is None else change.name,
        entries=known.entries if change.entries is None else entries_of(change.entries),
    )
    made = await changing.change_list(tx, caller, known, wanted, resources_of(request).clock.now())
    response.headers["ETag"] = etag(made.version)
    return list_detail(made)


@router.delete(
    "/lists/{list_id}",
    status_code=204,
    operation_id="delete_list",
    responses=refusals(NotFound, Conflict),
)
async def delete_list(caller: Writer, tx: RequestTx, list_id: UUID) -> Response:
    """Take a list out that no policy names."""
    await changing.delete_list(tx, caller, await reach_list(tx, caller, list_id, lock=True))
    return Response(status_code=204)
