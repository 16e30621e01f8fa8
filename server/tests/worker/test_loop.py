import asyncio

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.worker.registry import LongLoop
from guardhouse.worker.store import WorkerRow, list_workers
from server.tests.worker.make import PATIENCE_SECONDS, eventually, working

ticks: list[int] = []


@every(3600, "test.hourly")
async def hourly(context: JobContext) -> None:
    ticks.append(context.job.id)


async def workers(resources: Resources) -> list[WorkerRow]:
    async with system_transaction(resources.database) as tx:
        return await list_workers(tx)


async def test_a_worker_is_listed_while_it_lives(resources: Resources) -> None:
    async with working(resources):
        await eventually(lambda: workers(resources))
        (row,) = await workers(resources)
        assert row.seen_at >= row.started_at
    assert await workers(resources) == []


async def test_a_long_loop_runs_beside_the_jobs_and_ends_with_the_worker(resources: Resources) -> None:
    said: list[str] = []
    begun = asyncio.Event()

    async def run(_resources: Resources, stop: asyncio.Event) -> None:
        begun.set()
        await stop.wait()
        said.append("ended")

    async with working(resources, loops=[LongLoop("test", run)]):
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
    assert said == ["ended"]


async def test_a_long_loop_that_fails_begins_again(resources: Resources) -> None:
    tries = 0
    again = asyncio.Event()

    async def run(_resources: Resources, stop: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise LookupError("bug")
        again.set()
        await stop.wait()

    async with working(resources, loops=[LongLoop("test", run)]):
        await asyncio.wait_for(again.wait(), PATIENCE_SECONDS)


async def test_a_loop_that_does_not_end_is_cut_off(resources: Resources) -> None:
    begun = asyncio.Event()

    async def run(_resources: Resources, _stop: asyncio.Event) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with working(resources, loops=[LongLoop("test", run)]):
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)


async def test_a_schedule_runs_once_for_all_workers(resources: Resources) -> None:
    ticks.clear()
    async with working(resources, hourly), working(resources, hourly):

        async def ran() -> bool:
            return bool(ticks)

        await eventually(ran)
        await asyncio.sleep(0.3)
    assert len(ticks) == 1
