"""Routes of instances: the processes of a project, and one of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.agents.instances import delivery, look
from guardhouse.agents.instances.wire import (
    DeliveryShape,
    InstanceDetail,
    InstanceList,
    InstanceQuery,
    delivery_shape,
    instance_detail,
    instance_shape,
)
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("projects")
Reader = Annotated[Caller, Depends(Require("projects:read"))]


@router.get(
    "/projects/{project_id}/instances",
    operation_id="list_instances",
    response_model=InstanceList,
    responses=refusals(NotFound),
)
async def list_instances(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    project_id: UUID,
    wanted: Annotated[InstanceQuery, Query()],
) -> dict[str, Any]:
    """List the processes of a project that report in, the youngest first."""
    now = shared.clock.now()
    place = await look.place_of(tx, caller, project_id, now)
    before = None if page.after is None else page.after[0]
    rows = await look.list_instances(tx, place, archived=wanted.archived, limit=page.limit + 1, before=before)
    return page.answer(rows, lambda row: (row.no,), lambda row: instance_shape(row, now))


@router.get(
    "/projects/{project_id}/delivery", operation_id="get_project_delivery", responses=refusals(NotFound)
)
async def get_project_delivery(
    caller: Reader, tx: RequestTx, shared: Shared, project_id: UUID
) -> DeliveryShape:
    """Show what of everything captured in a project has arrived, and where the rest is."""
    place = await look.place_of(tx, caller, project_id, shared.clock.now())
    return delivery_shape(project_id, await delivery.get_delivery(tx, place))


@router.get("/instances/{instance_id}", operation_id="get_instance", responses=refusals(NotFound))
async def get_instance(caller: Reader, tx: RequestTx, shared: Shared, instance_id: UUID) -> InstanceDetail:
    """Show one process with its last reports and its delivery ledger."""
    now = shared.clock.now()
    instance, reports = await look.get_instance(tx, caller, instance_id, now)
    return instance_detail(instance, reports, now)
