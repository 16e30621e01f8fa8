"""Resources that may reach receivers on loopback, and one tenant."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import Receiver, answer, receiving
from server.tests.webhooks.make import OPEN_LOOPBACK


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, **OPEN_LOOPBACK) as found:
        yield found


@pytest_asyncio.fixture
async def tenant(resources: Resources) -> TenantKey:
    return (await add_tenant(resources, "acme"))[0]


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answer(200)) as found:
        yield found
