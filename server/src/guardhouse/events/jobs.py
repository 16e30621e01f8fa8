"""Days of telemetry come a week ahead and go when retention says so."""

from datetime import timedelta
from typing import Final

from guardhouse.agents.projects.read import list_retentions
from guardhouse.events import partitions
from guardhouse.events.app.store import delete_old
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

DELETED_AT_ONCE: Final = 5000


@every(3600, "events.keep_partitions")
async def keep_partitions(context: JobContext) -> None:
    """Make the days to come and drop those beyond retention, one short transaction each."""
    resources = context.resources
    await prepare(resources)
    for parent in partitions.PARENTS:
        async with system_transaction(resources.database) as tx:
            today = resources.clock.now().date()
            expired = await partitions.expired_days(
                tx, parent, today, resources.settings.events_retention_days
            )
        for day in expired:
            async with system_transaction(resources.database) as tx:
                await partitions.drop_day(tx, parent, day)


async def prepare(resources: Resources) -> None:
    """Make every day that may be written now."""
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, resources.clock.now().date())


@every(3600, "events.keep_projects")
async def keep_projects(context: JobContext) -> None:
    """Delete telemetry of projects that keep it shorter than the platform does, in short steps."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        shorter = await list_retentions(tx)
    for tenant_no, project_no, days in shorter:
        before, gone = resources.clock.now() - timedelta(days=days), DELETED_AT_ONCE
        while gone == DELETED_AT_ONCE:
            async with system_transaction(resources.database) as tx:
                gone = await delete_old(tx, tenant_no, project_no, before, DELETED_AT_ONCE)
