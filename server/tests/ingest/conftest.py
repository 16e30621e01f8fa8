"""The door as a fixture."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from guardhouse.foundation import logs
from guardhouse.foundation.resources import Resources
from server.tests.components.opened import settings_for
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


@pytest_asyncio.fixture
async def door(resources: Resources, database: Clone) -> AsyncIterator[Door]:
    """The application with one tenant's admin key, over an empty database."""
    async with open_door(resources, database.superuser_url) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def _plain_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Write faults as one line: the pretty form shows every local variable, which takes seconds here."""
    logs.configure(settings_for("postgresql://", tmp_path_factory.getbasetemp(), log_format="json"))
