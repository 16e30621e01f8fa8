"""Fixtures: a door with one tenant over a database whose clock stands at noon."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import Host, make_days, noon
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


@pytest.fixture
def clock() -> SetClock:
    return noon()


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=clock) as found:
        await make_days(found)
        yield found


@pytest_asyncio.fixture
async def door(resources: Resources, database: Clone) -> AsyncIterator[Door]:
    async with open_door(resources, database.superuser_url) as found:
        yield found


@pytest.fixture
def host(door: Door) -> Host:
    return Host(door.client, door.key, members={"stream": "s", "boot_id": "b"})
