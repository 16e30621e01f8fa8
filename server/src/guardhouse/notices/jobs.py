"""Partitions of the log come a week ahead and go after thirty days."""

from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices import read, store

DAYS_AHEAD: Final = 7
DAYS_KEPT: Final = 30


@every(3600, "notices.keep_partitions")
async def keep_partitions(context: JobContext) -> None:
    """Make the days to come and drop those past, one short transaction each."""
    await prepare(context.resources)
    async with system_transaction(context.resources.database) as tx:
        expired = await store.expired_days(tx, keep=DAYS_KEPT)
    for day in expired:
        async with system_transaction(context.resources.database) as tx:
            await store.drop_day(tx, day)


async def prepare(resources: Resources) -> None:
    """Make the log ready to be written; every process runs this at its start, before it publishes."""
    async with system_transaction(resources.database) as tx:
        await read.keep_epoch(tx)
        await store.create_days(tx, ahead=DAYS_AHEAD)
