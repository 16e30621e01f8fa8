"""A worker to be killed: run as a program it turns notices and delivers until somebody kills it."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from guardhouse.webhooks import jobs, lanes
from server.tests.components.opened import opened
from server.tests.webhooks.make import OPEN_LOOPBACK


async def main(database_url: str, folder: str) -> None:
    """Work with leases short enough for a test."""
    lanes.LEASE, lanes.RENEW_SECONDS, lanes.SPARE = timedelta(seconds=1), 0.2, timedelta(seconds=0.3)  # type: ignore[misc] # the test's own pace
    async with opened(database_url, Path(folder), egress_allow=OPEN_LOOPBACK) as resources:
        stop = asyncio.Event()
        await asyncio.gather(jobs.turn_notices(resources, stop), jobs.deliver(resources, stop))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
