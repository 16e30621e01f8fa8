"""Routes of addresses: list, show."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query

from guardhouse.agents.projects.read import reach_project
from guardhouse.events.ips import read_addresses as shown
from guardhouse.events.ips.wire import (
    AddressDetailShape,
    AddressList,
    AddressQuery,
    address_detail,
    address_shape,
)
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("addresses")
Reader = Annotated[Caller, Depends(Require("events:read"))]
Address = Annotated[
    str,
    Path(max_length=64, description="IPv4, any address of an IPv6 /64, or a hash.", examples=["203.0.113.7"]),
]


@router.get(
    "/projects/{project_id}/ips",
    operation_id="list_addresses",
    response_model=AddressList,
    responses=refusals(NotFound),
)
async def list_addresses(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    project_id: UUID,
    wanted: Annotated[AddressQuery, Query()],
) -> dict[str, Any]:
    """List addresses that did something to a project, by falling score."""
    project = await reach_project(tx, caller, project_id)
    rows = await shown.list_addresses(tx, caller.tenant, project, wanted.min_score, page, shared.clock.now())
    return page.answer(rows, lambda row: (row.known.rank, row.known.address), address_shape)


@router.get("/projects/{project_id}/ips/{ip}", operation_id="get_address", responses=refusals(NotFound))
async def get_address(
    caller: Reader, tx: RequestTx, shared: Shared, project_id: UUID, ip: Address
) -> AddressDetailShape:
    """Show an address with the reasons of its score, what it was after, and which other projects saw it."""
    project = await reach_project(tx, caller, project_id)
    return address_detail(await shown.get_address(tx, caller.tenant, project, ip, shared.clock.now()))
