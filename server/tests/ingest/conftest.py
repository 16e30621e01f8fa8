"""The door as a fixture."""

from collections.abc import AsyncIterator

import pytest_asyncio

from guardhouse.foundation.resources import Resources
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


@pytest_asyncio.fixture
async def door(resources: Resources, database: Clone) -> AsyncIterator[Door]:
    """The application with one tenant's admin key, over an empty database."""
    async with open_door(resources, database.superuser_url) as opened:
        yield opened
