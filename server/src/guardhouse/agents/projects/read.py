"""The one project that a call is about. A key that is bound to a project reaches no other; out of reach is absent."""

from uuid import UUID

from guardhouse.agents.projects import store
from guardhouse.agents.projects.store import Project
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.identity.caller import Caller

__all__ = ["Project", "list_retentions", "load_project", "reach_project"]


async def reach_project(tx: Tx, caller: Caller, project_id: UUID, *, lock: bool = False) -> Project:
    """Return the project in a path, active or archived; ``lock`` keeps it as it is until commit.

    Raises:
        NotFound: the tenant has no such project, or the caller's key is bound to another.
    """
    if caller.project_id not in {None, project_id}:
        raise NotFound("There is no such project.")
    return await load_project(tx, caller.tenant.id, project_id, lock=lock)


async def load_project(tx: Tx, tenant_id: UUID, project_id: UUID, *, lock: bool = False) -> Project:
    """Return a project of a tenant, active or archived, for work that no caller asked for.

    Raises:
        NotFound: the tenant has no such project.
    """
    project = await store.get_project(tx, tenant_id, project_id, lock=lock)
    if project is None:
        raise NotFound("There is no such project.")
    return project


async def list_retentions(tx: Tx) -> list[tuple[int, int, int]]:
    """Return tenant number, project number and days of every project, of all tenants, that keeps telemetry shorter."""
    return await store.list_retentions(tx)
