"""Look at instances: whatever was noted of them up to this moment is taken in first."""

from datetime import datetime
from uuid import UUID

from guardhouse.agents.instances import queries, store
from guardhouse.agents.instances.fold import fold
from guardhouse.agents.instances.store import Instance, Place, Report
from guardhouse.agents.projects.read import reach_project
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.identity.caller import Caller


async def place_of(tx: Tx, caller: Caller, project_id: UUID, now: datetime) -> Place:
    """Return where a project's processes are, an archived one's too.

    Raises:
        NotFound: the caller reaches no such project.
    """
    project = await reach_project(tx, caller, project_id)
    return Place(caller.tenant, project.no, project.id, now)


async def list_instances(
    tx: Tx, place: Place, *, archived: bool, limit: int, before: int | None
) -> list[Instance]:
    """Return instances of a project, the youngest first."""
    await fold(tx, place)
    return await store.list_instances(tx, place.project_no, archived=archived, limit=limit, before=before)


async def get_instance(
    tx: Tx, caller: Caller, instance_id: UUID, now: datetime
) -> tuple[Instance, list[Report]]:
    """Return an instance and its last reports, the newest first.

    Raises:
        NotFound: the caller reaches no such instance.
    """
    place = await queries.find_place(tx, caller.tenant, instance_id, now)
    if place is None:  # unless it was heard a moment ago for the first time
        for waiting in await queries.list_waiting_projects(tx, now, caller.tenant.no):
            await fold(tx, waiting)
        place = await queries.find_place(tx, caller.tenant, instance_id, now)
    if place is None or caller.project_id not in {None, place.project_id}:
        raise NotFound("There is no such instance.")
    await fold(tx, place)
    _, instance = (await store.find_named(tx, caller.tenant.no, [instance_id]))[instance_id]
    return instance, await store.list_reports(tx, instance.no)
