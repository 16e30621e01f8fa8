"""Minutes are sealed as they become ripe, and forgotten with the events they are of."""

from datetime import timedelta

from guardhouse.events.streams import store
from guardhouse.events.streams.seal import seal_minutes
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction


@every(15, "events.seal_minutes")
async def seal(context: JobContext) -> None:
    """Seal every minute that is ripe."""
    while await seal_once(context.resources):
        pass


async def seal_once(resources: Resources) -> bool:
    """Seal some minutes in a transaction of their own; tells whether more may wait."""
    async with system_transaction(resources.database) as tx:
        return await seal_minutes(tx, resources.clock.now())


@every(86_400, "events.forget_minutes")
async def forget_minutes(context: JobContext) -> None:
    """Forget minutes beyond the retention of events."""
    resources = context.resources
    kept = timedelta(days=resources.settings.events_retention_days)
    async with system_transaction(resources.database) as tx:
        await store.forget_minutes(tx, resources.clock.now() - kept)
