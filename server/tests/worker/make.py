"""A worker in a test: fast to look, quick to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from guardhouse.foundation.jobs import Job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.worker.engine import Pace
from guardhouse.worker.loop import Work, run_worker
from guardhouse.worker.registry import LongLoop

PACE = Pace(slots=4, ahead=16, poll_seconds=0.05, stop_seconds=0.5)
PATIENCE_SECONDS = 30.0


@asynccontextmanager
async def working(
    resources: Resources, *jobs: Job[Any], loops: Sequence[LongLoop] = (), pace: Pace = PACE
) -> AsyncIterator[asyncio.Event]:
    """Run a worker for the length of the block; yields its stop."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(resources, stop, Work(jobs, loops, pace)))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(running, PATIENCE_SECONDS)


async def eventually(true: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds; fail after half a minute."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await true():
            await asyncio.sleep(0.02)


async def jobs_by_state(resources: Resources) -> dict[str, int]:
    """Count jobs."""
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT state, count(*) AS n FROM jobs GROUP BY state")
    return {row["state"]: row["n"] for row in rows}
