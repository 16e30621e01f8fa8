"""Days of segments come a week ahead and go when retention says so; keys of events are forgotten after a day."""

from guardhouse.anomalies.streams import store
from guardhouse.anomalies.streams.append import KEYS_KEPT
from guardhouse.anomalies.streams.keep_days import PARENT, make_days
from guardhouse.events import partitions
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction


@every(3600, "anomalies.keep_segments")
async def keep_segments(context: JobContext) -> None:
    """Make the days to come and drop those beyond retention, one short transaction each."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await make_days(tx, resources.clock.now())
    async with system_transaction(resources.database) as tx:
        today, days = resources.clock.now().date(), resources.settings.segments_retention_days
        expired = await partitions.expired_days(tx, PARENT, today, days)
    for day in expired:
        async with system_transaction(resources.database) as tx:
            await partitions.drop_day(tx, PARENT, day)


@every(600, "anomalies.forget_keys")
async def forget_keys(context: JobContext) -> None:
    """Forget the keys of events that were stored more than a day ago."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.forget_keys(tx, resources.clock.now() - KEYS_KEPT)
