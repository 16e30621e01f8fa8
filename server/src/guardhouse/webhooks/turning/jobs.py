"""The loop that turns notices into deliveries, in one process at a time.

What is due for a dispatcher of this very process is handed to it after the commit.
"""

import asyncio
import time
from typing import Final
from uuid import UUID

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices import read
from guardhouse.notices.read import Mark
from guardhouse.webhooks import fan_out, handover, jobs, lanes
from guardhouse.webhooks.fan_out import READER, CursorMoved, EndpointCache
from guardhouse.webhooks.formats import RenderContext

HELD_SECONDS: Final = 0.005  # while an older transaction holds notices back
_log = logs.get(__name__)


async def turn_notices(resources: Resources, stop: asyncio.Event) -> None:
    """Turn notices into deliveries until ``stop``, while this process holds the lane of fan-out."""
    owner, cache = new_id(), EndpointCache()
    woken = asyncio.Event()
    unsubscribe = resources.wake.subscribe("notices", lambda _payload: woken.set())
    stopper = asyncio.create_task(jobs.wake_on(stop, woken))
    mark: Mark | None = None
    renewed = float("-inf")
    try:
        await jobs.make_days(resources)
        while not stop.is_set():
            woken.clear()
            try:
                if time.monotonic() - renewed >= lanes.RENEW_SECONDS:
                    renewed = time.monotonic()
                    mark = await _hold_fan_out(resources, owner, mark)
                pause, mark = await _turn(resources, cache, mark)
            except DatabaseAway as error:
                _log.warning("webhook_fan_out_waits", error=str(error))
                pause, mark, renewed = jobs.POLL_SECONDS, None, float("-inf")
            if pause:
                await set_within(woken, pause)
    finally:
        unsubscribe()
        stopper.cancel()
        await jobs.release(resources, owner)


async def _hold_fan_out(resources: Resources, owner: UUID, mark: Mark | None) -> Mark | None:
    async with system_transaction(resources.database) as tx:
        if not await lanes.take_fan_out(tx, resources.clock, owner):
            return None
        return mark or await read.reader_mark(tx, READER, resources.clock.now())


async def _turn(resources: Resources, cache: EndpointCache, mark: Mark | None) -> tuple[float, Mark | None]:
    """Do one step; returns how long to wait before the next, and where the cursor stands (None: read it anew)."""
    if mark is None:
        return jobs.POLL_SECONDS, None
    context = RenderContext(resources.settings.public_url)
    try:
        with handover.offers(resources) as offers:
            async with system_transaction(resources.database) as tx:
                step = await fan_out.fan_out(tx, mark, cache, context, resources.clock.now(), offers.ids)
            offers.give(step.due)
    except CursorMoved:
        async with system_transaction(resources.database) as tx:
            return 0.0, await read.reader_mark(tx, READER, resources.clock.now())
    if step.notices == fan_out.BATCH:
        return 0.0, step.mark
    return HELD_SECONDS if step.held else jobs.POLL_SECONDS, step.mark
