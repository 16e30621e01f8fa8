"""Look at instances: whatever was noted of them up to this moment is taken in first."""

from datetime import datetime
from uuid import UUID

from guardhouse.agents import store as agents_store
from guardhouse.agents.instances import store
from guardhouse.agents.instances.fold import fold
from guardhouse.agents.instances.store import Instance, Place, Report
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound


async def place_of(tx: Tx, tenant: TenantKey, name: str, now: datetime) -> Place:
    """Return where a project's processes are, whichever of its names is given.

    Raises:
        NotFound: the tenant has no such project.
    """
    project = await agents_store.find_project(tx, tenant.id, name)
    if project is None:
        raise NotFound("There is no such project.")
    return Place(tenant, project.no, project.id, now)


async def list_instances(
    tx: Tx, place: Place, *, archived: bool, limit: int, before: int | None
) -> list[Instance]:
    """Return instances of a project, the youngest first."""
    await fold(tx, place)
    return await store.list_instances(tx, place.project_no, archived=archived, limit=limit, before=before)


async def get_instance(
    tx: Tx, tenant: TenantKey, instance_id: UUID, now: datetime
) -> tuple[Instance, list[Report]]:
    """Return an instance and its last reports, the newest first.

    Raises:
        NotFound: the tenant has no such instance.
    """
    place = await store.find_place(tx, tenant, instance_id, now)
    if place is None:
        raise NotFound("There is no such instance.")
    await fold(tx, place)
    _, instance = (await store.find_named(tx, tenant.no, [instance_id]))[instance_id]
    return instance, await store.list_reports(tx, instance.no)
