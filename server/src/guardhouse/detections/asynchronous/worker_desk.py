"""The desk of a worker: made when its loop begins, lent to jobs, closed when the last has given it back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from guardhouse.detections.desk import Desk
from guardhouse.foundation.resources import Resources


class NoDesk(Exception):  # noqa: N818 - for the job, which comes again
    """The loop that keeps the desk is not running here."""


class _Lent:
    def __init__(self, resources: Resources) -> None:
        self.desk = Desk(resources)
        self.users = 0
        self.free = asyncio.Event()
        self.free.set()


_LENT: Final[dict[int, _Lent]] = {}  # by the identity of the resources, which outlive it


async def keep_desk(resources: Resources, stop: asyncio.Event) -> None:
    """Keep a desk for the jobs of this worker until ``stop``."""
    lent = _LENT[id(resources)] = _Lent(resources)
    try:
        await stop.wait()
        await lent.free.wait()
    finally:
        del _LENT[id(resources)]
        await lent.desk.close()


@asynccontextmanager
async def borrowed(resources: Resources) -> AsyncIterator[Desk]:
    """Use the desk for the length of the block.

    Raises:
        NoDesk: there is none, now.
    """
    lent = _LENT.get(id(resources))
    if lent is None:
        raise NoDesk
    lent.users += 1
    lent.free.clear()
    try:
        yield lent.desk
    finally:
        lent.users -= 1
        if not lent.users:
            lent.free.set()
