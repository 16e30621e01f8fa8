"""Addresses are scored in a loop beside the jobs; those not seen for a month are forgotten."""

import asyncio
from datetime import timedelta
from typing import Final

from guardhouse.events import partitions
from guardhouse.events.ips import store
from guardhouse.events.ips.rate_addresses import rate_addresses
from guardhouse.events.write_process import DayMissing
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

POLL_SECONDS: Final = 1.0
KEPT: Final = timedelta(days=31)
_log = logs.get(__name__)


async def rate(resources: Resources, stop: asyncio.Event) -> None:
    """Score addresses until ``stop``; the database going away costs a pause."""
    while not stop.is_set():
        try:
            busy = await rate_once(resources)
        except DatabaseAway as error:
            _log.warning("rating_of_addresses_waits", error=str(error))
            busy = False
        if not busy:
            await set_within(stop, POLL_SECONDS)


async def rate_once(resources: Resources) -> bool:
    """Score what waits now, so much at most; tells whether more waits."""
    now = resources.clock.now()
    try:
        async with system_transaction(resources.database) as tx:
            return await rate_addresses(tx, now)
    except DayMissing:
        async with system_transaction(resources.database) as tx:
            await partitions.ensure_days(tx, now.date(), ("ip_buckets",))
        return True


@every(86_400, "events.forget_addresses")
async def forget_addresses(context: JobContext) -> None:
    """Forget addresses that were not seen for a month."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.forget_addresses(tx, resources.clock.now() - KEPT)
