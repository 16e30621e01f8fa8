"""Days of telemetry come a week ahead and go when retention says so."""

from guardhouse.events import partitions
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction


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
