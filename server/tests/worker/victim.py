"""A worker to be killed: run as a program it begins a job and never ends it."""

import asyncio
import sys
from pathlib import Path

from guardhouse.foundation.jobs import JobContext, job
from guardhouse.worker.loop import Work, run_worker
from server.tests.components.opened import opened


@job("test.write", lease_seconds=1.0)
async def write(context: JobContext, payload: str) -> None:
    """Say which attempt this is; the first one then hangs."""
    add(Path(payload), context.attempt)
    if context.attempt == 1:
        await asyncio.Event().wait()


def add(mark: Path, attempt: int) -> None:
    """Append the number of an attempt to a file."""
    with mark.open("a") as file:
        file.write(str(attempt))


async def main(database_url: str, folder: str) -> None:
    """Work until killed."""
    async with opened(database_url, Path(folder)) as resources:
        await run_worker(resources, asyncio.Event(), Work([write], []))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
