"""Routes with which the platform looks after its tenants, across them all."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response

from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, Shared, api_router
from guardhouse.identity import tenants
from guardhouse.identity.caller import PlatformCaller, PlatformTx
from guardhouse.identity.tenancy.wire import (
    TenantList,
    TenantQuery,
    TenantReason,
    TenantRequest,
    TenantShape,
    tenant_shape,
)

router = api_router("platform", prefix="/api/v1/admin")


@router.post("/tenants", status_code=201, operation_id="create_tenant", responses=refusals(Conflict))
async def create_tenant(
    caller: PlatformCaller, tx: PlatformTx, shared: Shared, wanted: TenantRequest, response: Response
) -> TenantShape:
    """Make a tenant. It has no key yet: `guardhouse keys create`, or an invitation, makes its first one."""
    tenant = await tenants.create_tenant(tx, shared.clock, wanted.slug, wanted.name, by=caller.actor)
    response.headers["Location"] = f"/api/v1/admin/tenants/{tenant.id}"
    return tenant_shape(tenant)


@router.get("/tenants", operation_id="list_tenants", response_model=TenantList)
async def list_tenants(
    _caller: PlatformCaller, tx: PlatformTx, page: AskedPage, wanted: Annotated[TenantQuery, Query()]
) -> dict[str, Any]:
    """List the tenants, oldest first, without their test twins."""
    after = 0 if page.after is None else page.after[0]
    rows = await tenants.list_tenants(tx, state=wanted.state, after=after, limit=page.limit + 1)
    return page.answer(rows, lambda tenant: (tenant.no,), tenant_shape)


@router.get("/tenants/{tenant_id}", operation_id="get_tenant", responses=refusals(NotFound))
async def get_tenant(_caller: PlatformCaller, tx: PlatformTx, tenant_id: UUID) -> TenantShape:
    """Show one tenant."""
    return tenant_shape(await tenants.get_tenant(tx, tenant_id))


@router.post(
    "/tenants/{tenant_id}/suspend", operation_id="suspend_tenant", responses=refusals(NotFound, Conflict)
)
async def suspend_tenant(
    caller: PlatformCaller, tx: PlatformTx, tenant_id: UUID, why: TenantReason | None = None
) -> TenantShape:
    """Refuse every credential of a tenant and of its twin until it is active again; its data stays. Repeatable."""
    return await _set(caller, tx, tenant_id, "suspended", why)


@router.post(
    "/tenants/{tenant_id}/activate", operation_id="activate_tenant", responses=refusals(NotFound, Conflict)
)
async def activate_tenant(
    caller: PlatformCaller, tx: PlatformTx, tenant_id: UUID, why: TenantReason | None = None
) -> TenantShape:
    """Let a suspended tenant's credentials work again. Repeatable."""
    return await _set(caller, tx, tenant_id, "active", why)


@router.post(
    "/tenants/{tenant_id}/close", operation_id="close_tenant", responses=refusals(NotFound, Conflict)
)
async def close_tenant(
    caller: PlatformCaller, tx: PlatformTx, tenant_id: UUID, why: TenantReason | None = None
) -> TenantShape:
    """Close a tenant for good; its data stays until it is removed by hand. Repeatable."""
    return await _set(caller, tx, tenant_id, "closed", why)


async def _set(
    caller: PlatformCaller, tx: PlatformTx, tenant_id: UUID, state: str, why: TenantReason | None
) -> TenantShape:
    reason = None if why is None else why.reason
    return tenant_shape(await tenants.set_state(tx, tenant_id, state, by=caller.actor, reason=reason))
