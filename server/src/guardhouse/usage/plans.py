"""Plans: the ceilings of a whole tenant, whatever its keys allow. A tenant that was given none has no ceiling."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.identity import tenants
from guardhouse.usage import store
from guardhouse.usage.store import Plan

UNLIMITED: Final = Plan(name="unlimited", per_minute=None, per_day=None, version=1)

__all__ = ["UNLIMITED", "Plan"]


async def plan_of(tx: Tx, tenant_id: UUID) -> Plan:
    """Return the plan of a tenant."""
    return await store.find_plan_of(tx, tenant_id) or UNLIMITED


async def names_of(tx: Tx, tenants: Sequence[UUID]) -> dict[UUID, str]:
    """Return the names of the plans that tenants were given."""
    return await store.plan_names(tx, tenants)


async def list_plans(tx: Tx) -> list[Plan]:
    """Return every plan, by name."""
    return await store.list_plans(tx)


async def find_plan(tx: Tx, name: str, *, lock: bool = False) -> Plan | None:
    """Return a plan, or None; ``lock`` holds it until the end of the transaction."""
    return await store.find_plan(tx, name, lock=lock)


async def get_plan(tx: Tx, name: str) -> Plan:
    """Return a plan.

    Raises:
        NotFound: there is none of this name.
    """
    plan = await store.find_plan(tx, name)
    if plan is None:
        raise NotFound("There is no such plan.")
    return plan


async def put_plan(tx: Tx, plan: Plan) -> None:
    """Make a plan or replace it; holds for its tenants within a second."""
    await store.put_plan(tx, plan)
    await store.notify_plans(tx)


async def set_plan_of(tx: Tx, clock: Clock, tenant_id: UUID, name: str) -> Plan:
    """Put a tenant on a plan.

    Raises:
        NotFound: there is no such tenant, or no such plan.
    """
    if await tenants.find_by_id(tx, tenant_id) is None:
        raise NotFound("There is no such tenant.")
    plan = await get_plan(tx, name)
    await store.set_plan_of(tx, tenant_id, name, clock.now())
    await store.notify_plans(tx)
    return plan


def described(plan: Plan) -> dict[str, Any]:
    """Return the ceilings as an audit entry names them."""
    return {"requests_per_minute": plan.per_minute, "requests_per_day": plan.per_day}
