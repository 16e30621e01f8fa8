"""Projects that were archived 30 days ago end for good."""

from guardhouse.agents.projects import store
from guardhouse.agents.projects.change_project import ARCHIVE_KEPT, end_project
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction, tenant_transaction


@every(3600, "agents.end_projects")
async def end_projects(context: JobContext) -> None:
    """End each in a transaction of its own; one that was restored meanwhile stays."""
    resources = context.resources
    before = resources.clock.now() - ARCHIVE_KEPT
    async with system_transaction(resources.database) as tx:
        due = await store.list_archived(tx, before)
    for tenant, project_id in due:
        async with tenant_transaction(resources.database, tenant) as tx:
            project = await store.get_project(tx, tenant.id, project_id, lock=True)
            if project is not None and project.archived_at is not None and project.archived_at < before:
                await end_project(tx, tenant, project)
