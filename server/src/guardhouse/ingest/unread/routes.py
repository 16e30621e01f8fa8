"""Routes of a project's quarantine: list, try again, delete."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Request, Response

from guardhouse.agents.projects.read import reach_project
from guardhouse.foundation.errors import BodyTooLarge, Conflict, NotFound, Unavailable
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    api_router,
    resources_of,
    tenant_transaction,
    two_step,
)
from guardhouse.identity.caller import Caller, Require
from guardhouse.ingest.answer_app import answer_app
from guardhouse.ingest.envelopes.store import count_held
from guardhouse.ingest.store import Owner
from guardhouse.ingest.unread import retry_unread as retrying
from guardhouse.ingest.unread import store
from guardhouse.ingest.unread.wire import UnreadList, totals_shape, unread_shape
from guardhouse.ingest.wire import AppAnswerShape

router = api_router("projects")
Reader = Annotated[Caller, Depends(Require("projects:read"))]
Writer = Annotated[Caller, Depends(Require("projects:write"))]
UnreadId = Annotated[int, Path(ge=0, lt=2**63)]


@router.get(
    "/projects/{project_id}/quarantine",
    operation_id="list_quarantine",
    response_model=UnreadList,
    responses=refusals(NotFound),
)
async def list_quarantine(caller: Reader, tx: RequestTx, page: AskedPage, project_id: UUID) -> dict[str, Any]:
    """List what of the project's telemetry could not be read, newest first; it is kept for 30 days."""
    project = await reach_project(tx, caller, project_id)
    owner = Owner(caller.tenant.no, project.no)
    before = None if page.after is None else page.after[0]
    rows = await store.list_unread(tx, owner, page.limit + 1, before)
    totals = totals_shape(await store.get_totals(tx, owner), await count_held(tx, owner))
    return page.answer(rows, lambda unread: (unread.no,), unread_shape) | {"totals": totals}


@router.post(
    "/projects/{project_id}/quarantine/{unread_id}:retry",
    operation_id="reread_quarantine",
    response_model=AppAnswerShape,
    responses=refusals(NotFound, Conflict, BodyTooLarge, Unavailable),
)
@two_step
async def reread_quarantine(
    caller: Writer, request: Request, project_id: UUID, unread_id: UnreadId
) -> Response:
    """Read one row again with today's reader; of a body every item that is whole is taken.

    Items that still cannot be read go back into quarantine, each as a row of its own.
    """
    resources = resources_of(request)
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await reach_project(tx, caller, project_id)
        unread, raw = await retrying.load_unread(tx, caller, project, unread_id)
    return answer_app(await retrying.retry_unread(resources, caller, project, unread, raw), replayed=False)


@router.delete(
    "/projects/{project_id}/quarantine/{unread_id}",
    status_code=204,
    operation_id="delete_quarantine",
    responses=refusals(NotFound),
)
async def delete_quarantine(caller: Writer, tx: RequestTx, project_id: UUID, unread_id: UnreadId) -> Response:
    """Delete one row for good."""
    project = await reach_project(tx, caller, project_id)
    await retrying.delete_unread(tx, caller, project, unread_id)
    return Response(status_code=204)
