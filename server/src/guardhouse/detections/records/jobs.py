"""What records do off the request's path: write what waits, make the days to come, forget what is over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import asyncpg

from guardhouse.detections.records import store
from guardhouse.detections.records.figures import NOT_RECORDED
from guardhouse.detections.records.waiting import Waiting
from guardhouse.detections.records.write import DAYS_AHEAD, Days, Entry, write
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

GATHER_SECONDS: Final = 0.025  # with the commit behind it, no record waits longer than 50 ms
AWAY_SECONDS: Final = 0.25
DELETED_AT_ONCE: Final = 5_000
LAST_TRIES: Final = 8
Taken = list[tuple[Entry, "asyncio.Future[None] | None"]]
_log = logs.get(__name__)


@every(3600, "detections.keep_records")
async def keep_records(context: JobContext) -> None:
    """Make the days to come and forget what is past its retention, in short transactions."""
    database, now = context.resources.database, context.resources.clock.now()
    today = now.date()
    async with system_transaction(database) as tx:
        for parent in store.PARENTS:
            for ahead in range(DAYS_AHEAD + 1):
                await store.create_day(tx, parent, today + timedelta(days=ahead))
    for parent in store.PARENTS:
        gone = DELETED_AT_ONCE
        while gone == DELETED_AT_ONCE:
            async with system_transaction(database) as tx:
                gone = await store.delete_short_lived(tx, parent, now, DELETED_AT_ONCE)
        async with system_transaction(database) as tx:
            days = await store.list_days(tx, parent)
        for day in days:
            if (today - day).days > store.USUAL_DAYS:
                async with system_transaction(database) as tx:
                    if await store.is_over(tx, parent, day, today):
                        await store.drop_day(tx, parent, day)


@asynccontextmanager
async def keep(resources: Resources, waiting: Waiting) -> AsyncIterator[None]:
    """Write what waits for the length of the block, and the rest at its end."""
    writer = Writer(resources, waiting)
    writing = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await writer.finish()


class Writer:
    """The one writer of a process: one transaction at a time, over everything that waits."""

    def __init__(self, resources: Resources, waiting: Waiting) -> None:
        self.resources = resources
        self.waiting = waiting
        self.days = Days(set())

    async def run(self) -> None:
        """Write until cancelled; while the database is away records wait, and whoever waits for them is told."""
        while True:
            await self.waiting.some.wait()
            await set_within(self.waiting.hurry, GATHER_SECONDS)
            if not await self.write_some():
                await asyncio.sleep(AWAY_SECONDS)

    async def finish(self) -> None:
        """Write the rest; what the database does not take within a few tries is counted as lost."""
        for _ in range(LAST_TRIES):
            while self.waiting and await self.write_some():
                pass
            if not self.waiting:
                return
            await asyncio.sleep(AWAY_SECONDS)
        NOT_RECORDED.inc(len(self.waiting))
        _log.error("detections_not_recorded", records=len(self.waiting))

    async def write_some(self) -> bool:
        """Write the oldest that fit one transaction; False while the database is away."""
        taken = self.waiting.take()
        try:
            await self._write([entry for entry, _ in taken])
        except DatabaseAway as error:
            self._put_back(taken, error)
            return False
        except asyncio.CancelledError:
            self.waiting.give_back(taken)
            raise
        except Exception as error:  # noqa: BLE001 - one record that cannot be stored must not stop the others
            _log.warning("detections_written_one_by_one", error=type(error).__name__)
            return await self._write_each(taken)
        _settle(taken)
        return True

    async def _write(self, entries: Sequence[Entry]) -> None:
        async with system_transaction(self.resources.database) as tx:
            made = await write(tx, self.resources, entries, self.days)
        self.days.known |= made

    async def _write_each(self, taken: Taken) -> bool:
        """Write each in a transaction of its own. A lost answer to COMMIT leaves records that are there already."""
        self.days.known.clear()
        for place, (entry, stored) in enumerate(taken):
            try:
                await self._write([entry])
            except DatabaseAway as error:
                self._put_back(taken[place:], error)
                return False
            except asyncpg.UniqueViolationError:
                pass
            except Exception as error:  # noqa: BLE001 - told and counted; the others go on
                NOT_RECORDED.inc()
                _log.exception("detection_not_recorded", error=type(error).__name__)
                if stored is not None and not stored.done():
                    stored.set_exception(error)
                continue
            _settle([(entry, stored)])
        return True

    def _put_back(self, taken: Taken, error: DatabaseAway) -> None:
        """Keep for later what nobody waits for; whoever waits is told that nothing was stored."""
        for _, stored in taken:
            if stored is not None and not stored.done():
                stored.set_exception(error)
        self.waiting.give_back([(entry, None) for entry, stored in taken if stored is None])


def _settle(taken: Taken) -> None:
    for _, stored in taken:
        if stored is not None and not stored.done():
            stored.set_result(None)
