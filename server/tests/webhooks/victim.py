"""Workers to be killed: run as a program it makes one for each line it reads, and says its process id.

The program has imported everything before; a worker is a fork of it, so that a dozen start in a moment.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from guardhouse.webhooks import jobs, lanes
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.components.opened import opened
from server.tests.webhooks.make import OPEN_LOOPBACK


async def work(database_url: str, folder: str) -> None:
    """Turn notices and deliver, with leases short enough for a test, until killed."""
    lanes.LEASE, lanes.RENEW_SECONDS, lanes.SPARE = timedelta(seconds=1), 0.2, timedelta(seconds=0.3)  # type: ignore[misc] # the test's own pace
    async with opened(database_url, Path(folder), egress_allow=OPEN_LOOPBACK) as resources:
        stop = asyncio.Event()
        await asyncio.gather(turning_jobs.turn_notices(resources, stop), jobs.deliver(resources, stop))


def main(database_url: str, folder: str) -> None:
    """Fork a worker per line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    while sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asyncio.run(work(database_url, folder))
            return
        print(pid, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
