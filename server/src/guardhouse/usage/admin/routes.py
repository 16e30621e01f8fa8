"""Routes for administrators: figures of the tenant, its keys as users, and the plans of the platform."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from guardhouse.audit.record import Entry, record
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, PreconditionRequired, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import keys
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.change_key import change_key
from guardhouse.usage import admin_figures, plans
from guardhouse.usage.plans import Plan
from guardhouse.usage.wire import (
    PerformanceShape,
    PlanList,
    PlanRequest,
    PlanShape,
    StatsShape,
    TenantPlanRequest,
    ThreatsShape,
    UserList,
    UserShape,
    UserUsage,
    plan_shape,
)

router = api_router("admin")
Admin = Annotated[Caller, Depends(Require("admin"))]
Platform = Annotated[Caller, Depends(Require("platform"))]
Hours = Annotated[int, Query(ge=1, le=168, description="How many hours back.")]
KeyName = Annotated[str, Path(description="Id or prefix of a key, never the key itself.", max_length=100)]
PlanName = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="Name of the plan.")]
_NO_PLAN: Final = "0"


@router.get("/admin/stats", operation_id="get_admin_stats")
async def get_admin_stats(caller: Admin, tx: RequestTx, shared: Shared) -> StatsShape:
    """Show the tenant's totals and its last 24 hours."""
    return await admin_figures.stats(tx, caller.tenant.id, shared.clock.now())


@router.get("/admin/threats", operation_id="get_admin_threats")
async def get_admin_threats(caller: Admin, tx: RequestTx, shared: Shared, hours: Hours = 24) -> ThreatsShape:
    """Show what detections found, by threat type, decision and hour."""
    return await admin_figures.threats(tx, caller.tenant.id, shared.clock.now(), hours)


@router.get("/admin/performance", operation_id="get_admin_performance")
async def get_admin_performance(
    caller: Admin, tx: RequestTx, shared: Shared, hours: Hours = 24
) -> PerformanceShape:
    """Show requests, errors and times by operation."""
    return await admin_figures.performance(tx, caller.tenant.id, shared.clock.now(), hours)


@router.get("/admin/users", operation_id="list_admin_users", response_model=UserList)
async def list_admin_users(caller: Admin, tx: RequestTx, shared: Shared, page: AskedPage) -> dict[str, Any]:
    """List the tenant's API keys with what they used, newest first."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    found = await keys.list_keys(tx, caller.tenant.id, page.limit + 1, after)
    used = {
        user.id: user for user in await admin_figures.users(tx, caller.tenant.id, found, shared.clock.now())
    }
    return page.answer(
        found, lambda key: (microseconds(key.created_at), key.id.bytes), lambda key: used[str(key.id)]
    )


@router.get("/admin/users/{key_id}/usage", operation_id="get_admin_user_usage", responses=refusals(NotFound))
async def get_admin_user_usage(caller: Admin, tx: RequestTx, shared: Shared, key_id: UUID) -> UserUsage:
    """Show the days of one key and all it ever used."""
    key = await keys.get_key(tx, caller.tenant.id, key_id)
    return await admin_figures.user_usage(tx, caller.tenant.id, key, shared.clock.now())


@router.post(
    "/admin/users/{key_id}/suspend",
    operation_id="suspend_admin_user",
    responses=refusals(NotFound, Conflict),
)
async def suspend_admin_user(caller: Admin, tx: RequestTx, shared: Shared, key_id: UUID) -> UserShape:
    """Suspend a key; it opens nothing anywhere within a second. Repeatable."""
    return await _set_state(caller, tx, shared, key_id, "suspended")


@router.post(
    "/admin/users/{key_id}/reactivate",
    operation_id="reactivate_admin_user",
    responses=refusals(NotFound, Conflict),
)
async def reactivate_admin_user(caller: Admin, tx: RequestTx, shared: Shared, key_id: UUID) -> UserShape:
    """Make a suspended key active again; one that has ended stays so (409). Repeatable."""
    return await _set_state(caller, tx, shared, key_id, "active")


async def _set_state(caller: Caller, tx: Tx, shared: Resources, key_id: UUID, state: str) -> UserShape:
    now = shared.clock.now()
    key = await keys.get_key(tx, caller.tenant.id, key_id, lock=True)
    changed = await change_key(tx, caller.actor, key, {"state": state}, now)
    (user,) = await admin_figures.users(tx, caller.tenant.id, [changed], now)
    return user


@router.get("/admin/usage/{key}", operation_id="get_admin_usage", responses=refusals(NotFound))
async def get_admin_usage(caller: Admin, tx: RequestTx, shared: Shared, key: KeyName) -> UserUsage:
    """Show the days of the key that an id or a prefix names; the key itself in the path is refused."""
    found = await admin_figures.find_user(tx, caller.tenant.id, key)
    return await admin_figures.user_usage(tx, caller.tenant.id, found, shared.clock.now())


@router.get("/admin/plans", operation_id="list_plans")
async def list_plans(_caller: Platform, shared: Shared) -> PlanList:
    """List every plan."""
    async with system_transaction(shared) as tx:
        return PlanList(data=[plan_shape(plan) for plan in await plans.list_plans(tx)])


@router.get("/admin/plans/{plan}", operation_id="get_plan", responses=refusals(NotFound))
async def get_plan(_caller: Platform, shared: Shared, plan: PlanName, response: Response) -> PlanShape:
    """Show a plan, with the ETag that changing it needs."""
    async with system_transaction(shared) as tx:
        found = await plans.get_plan(tx, plan)
    response.headers["ETag"] = etag(found.version)
    return plan_shape(found)


@router.put(
    "/admin/plans/{plan}",
    operation_id="put_plan",
    responses=refusals(PreconditionFailed, PreconditionRequired),
)
async def put_plan(
    request: Request,
    caller: Platform,
    shared: Shared,
    plan: PlanName,
    wanted: PlanRequest,
    response: Response,
) -> PlanShape:
    """Make a plan, or replace it with `If-Match`; holds for its tenants within a second."""
    async with system_transaction(shared) as tx:
        before = await plans.find_plan(tx, plan, lock=True)
        if before is not None:
            check_match(request.headers, before.version, required=True)
        elif "if-match" in request.headers:
            check_match(request.headers, _NO_PLAN)
        version = 1 if before is None else before.version + 1
        made = Plan(plan, wanted.requests_per_minute, wanted.requests_per_day, version)
        await plans.put_plan(tx, made)
        entry = Entry(
            "plan.create" if before is None else "plan.update",
            f"plan:{plan}",
            None if before is None else plans.described(before),
            plans.described(made),
        )
        await record(tx, caller.actor, entry)
    response.headers["ETag"] = etag(made.version)
    return plan_shape(made)


@router.put("/admin/tenants/{tenant_id}/plan", operation_id="set_tenant_plan", responses=refusals(NotFound))
async def set_tenant_plan(
    caller: Platform, shared: Shared, tenant_id: UUID, wanted: TenantPlanRequest
) -> PlanShape:
    """Put a tenant on a plan; repeatable, holds within a second."""
    async with system_transaction(shared) as tx:
        before = await plans.plan_of(tx, tenant_id)
        given = await plans.set_plan_of(tx, shared.clock, tenant_id, wanted.plan)
        entry = Entry("tenant.set_plan", f"tenant:{tenant_id}", {"plan": before.name}, {"plan": given.name})
        await record(tx, caller.actor, entry)
    return plan_shape(given)
