"""Waiting that ends: for an event or for time, whichever comes first, and always for a cancellation.

``asyncio.wait_for`` of Python 3.11 loses a cancellation that comes together with the event, and a loop that
loses its cancellation never ends.
"""

import asyncio


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long; tells whether it was set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
