"""What usage does off the request's path: write the log, say what limits did, count processes, sum days."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Final

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.usage import daily, processes, store
from guardhouse.usage.limits import Limiter
from guardhouse.usage.log import UsageLog, UsageRow
from guardhouse.usage.tell import tell

WRITE_SECONDS: Final = 1.0
MEND_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 60.0
_log = logs.get(__name__)


@every(3600, "usage.keep_log")
async def keep_log(context: JobContext) -> None:
    """Make the days to come, sum those that are over and drop those past ninety, one short transaction each."""
    database, now = context.resources.database, context.resources.clock.now()
    async with system_transaction(database) as tx:
        await daily.ensure_days(tx, now)
        days = await daily.settled_days(tx, now)
    for day in days:
        async with system_transaction(database) as tx:
            await daily.sum_day(tx, day, now)
            if daily.is_expired(day, now):
                await daily.drop_day(tx, day)


@asynccontextmanager
async def keep(resources: Resources, limiter: Limiter, log: UsageLog) -> AsyncIterator[None]:
    """Run limits and log for the length of the block; what waits is written at its end."""
    process_id = new_id()
    recount = asyncio.Event()

    async def count() -> None:
        recount.clear()
        async with system_transaction(resources.database) as tx:
            limiter.set_share(await processes.beat(tx, process_id))

    async def leave() -> None:
        async with system_transaction(resources.database) as tx:
            await processes.end(tx, process_id)

    async def mend() -> None:
        await limiter.mend()

    async def sweep() -> None:
        limiter.local.sweep()

    ends = [
        resources.wake.subscribe("api_processes", lambda _payload: recount.set()),
        resources.wake.subscribe("plans", limiter.drop_plans),
    ]
    await _once(count)
    await limiter.start()
    _log.info(
        "rate_limits",
        state=limiter.state,
        processes=limiter.local.share.processes,
        fallback=resources.settings.rate_limit_fallback,
    )
    tasks = [
        asyncio.create_task(_repeat(write_for(resources, limiter, log), WRITE_SECONDS, log.full)),
        asyncio.create_task(_repeat(count, processes.BEAT_SECONDS, recount)),
        asyncio.create_task(_repeat(mend, MEND_SECONDS)),
        asyncio.create_task(_repeat(sweep, SWEEP_SECONDS)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            end()
        await limiter.close()
        await _once(write_for(resources, limiter, log))
        await _once(leave)


def write_for(resources: Resources, limiter: Limiter, log: UsageLog) -> Callable[[], Awaitable[None]]:
    """Return what writes the waiting rows and words."""

    async def write() -> None:
        for day, rows in log.take(resources.clock.now()).items():
            try:
                await _write_day(resources, day, rows)
            except BaseException:
                log.give_back(rows)
                raise
        for word in limiter.take_words():
            async with system_transaction(resources.database) as tx:
                await tell(tx, word)

    return write


async def _write_day(resources: Resources, day: date, rows: list[UsageRow]) -> None:
    async with system_transaction(resources.database) as tx:
        known = await store.has_day(tx, day)
        if not known:
            await store.create_days(tx, day, ahead=daily.DAYS_AHEAD)
        await store.write_log(tx, day, rows)


async def _repeat(
    work: Callable[[], Awaitable[None]], seconds: float, sooner: asyncio.Event | None = None
) -> None:
    never = asyncio.Event()
    while True:
        await set_within(sooner or never, seconds)
        await _once(work)


async def _once(work: Callable[[], Awaitable[None]]) -> None:
    """Do a step; the database going away costs this one only, and a fault must not end the loop."""
    try:
        await work()
    except DatabaseAway:
        _log.debug("usage_step_waits")
    except Exception as error:  # noqa: BLE001 - told in the log; what usage misses must not stop what it keeps
        _log.exception("usage_step_failed", error=type(error).__name__)
