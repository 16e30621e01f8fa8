import asyncio

import pytest

from guardhouse.foundation.pause import set_within


async def test_it_tells_the_event_from_the_time() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.001)
    event.set()
    assert await set_within(event, 30)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(set_within(event, 30))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
