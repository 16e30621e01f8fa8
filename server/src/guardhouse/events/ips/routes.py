"""Routes of addresses: list, show, ban, release."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query

from guardhouse.agents.projects.read import Project, reach_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.publish import Authorship, guarded_of
from guardhouse.events.ips import ban_address as banning
from guardhouse.events.ips import read_addresses as shown
from guardhouse.events.ips.ban_address import NoNetwork
from guardhouse.events.ips.wire import (
    AddressDetailShape,
    AddressList,
    AddressQuery,
    BanRequest,
    NetRuleShape,
    ReleaseRequest,
    ReleaseShape,
    address_detail,
    address_shape,
    net_rule_shape,
    release_shape,
)
from guardhouse.foundation import peer
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller, Require

router = api_router("addresses")
Reader = Annotated[Caller, Depends(Require("events:read"))]
Writer = Annotated[Caller, Depends(Require("app_rules:write"))]
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


@router.post(
    "/projects/{project_id}/ips/{ip}:ban",
    status_code=201,
    operation_id="ban_address",
    responses=refusals(NotFound, Conflict, AppRuleInvalid, NoNetwork),
)
async def ban_address(
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, ip: Address, wanted: BanRequest
) -> NetRuleShape:
    """Ban an address in an app, an IPv6 one with its /64; a ban that stands gets the new end."""
    project = await reach_project(tx, caller, project_id)
    by = _authorship(caller, shared, project, wanted.reason, force=wanted.force)
    duration = None if wanted.duration_seconds is None else timedelta(seconds=wanted.duration_seconds)
    return net_rule_shape(await banning.ban_address(tx, project, shown.read_address(ip), by, duration))


@router.post(
    "/projects/{project_id}/ips/{ip}:release",
    operation_id="release_address",
    responses=refusals(NotFound, Conflict, NoNetwork),
)
async def release_address(
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, ip: Address, wanted: ReleaseRequest
) -> ReleaseShape:
    """Lift the bans of an address, also those that apps decided on themselves."""
    project = await reach_project(tx, caller, project_id)
    by = _authorship(caller, shared, project, wanted.reason, force=False)
    return release_shape(await banning.release_address(tx, project, shown.read_address(ip), by))


def _authorship(
    caller: Caller, shared: Resources, project: Project, reason: str | None, *, force: bool
) -> Authorship:
    guarded = guarded_of(project, peer.current().address, shared.settings.trusted_proxies)
    return Authorship(caller.actor, shared.clock.now(), reason=reason, force=force, guarded=guarded)
