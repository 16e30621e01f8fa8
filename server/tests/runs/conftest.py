from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make as identity
from server.tests.runs.make import House


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime.now(UTC))


@pytest_asyncio.fixture
async def house(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[House]:
    """A tenant with 100 dollars."""
    async with (
        opened(database_url, tmp_path, clock=clock, self_top_up=True) as resources,
        api.client_of(resources) as client,
    ):
        tenant = await identity.tenant(resources)
        _, text = await identity.key(resources, tenant)
        client.headers["X-API-Key"] = text
        made = House(resources, client, tenant, clock)
        await made.fund()
        yield made
