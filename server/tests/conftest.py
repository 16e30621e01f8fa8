"""Fixtures for every test of the server: a migrated PostgreSQL database of this worker's own.

Tests commit for real (workers, LISTEN and several connections need that), so nothing is rolled back: the
database is emptied *before* a test that asks for it, in about 2 ms, and a failed test leaves its rows to look at.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio

from guardhouse.foundation.resources import Resources
from server.tests.components import api, logged
from server.tests.components import postgres as component
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the test database, so that `-m database` runs it against another server."""
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("database")


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Write logs of the code under test plainly."""
    logged.plain()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Clone]:
    """This worker's database for the whole session; ask for ``database_url`` instead, which is clean."""
    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    with component.shared_server(folder) as server, component.clone(server, worker_id) as clone:
        yield clone


@pytest_asyncio.fixture(scope="session")
async def _cleaner(postgres: Clone) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres.superuser_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def database(postgres: Clone, _cleaner: "asyncpg.Connection[asyncpg.Record]") -> Clone:
    """Return this worker's database, emptied of what earlier tests left."""
    await _cleaner.execute("SELECT testing.clean()")
    return postgres


@pytest.fixture
def database_url(database: Clone) -> str:
    """Return where server and worker connect, to an empty database."""
    return database.database_url


@pytest.fixture
def owner_url(database: Clone) -> str:
    """Return where migrations connect, to an empty database."""
    return database.owner_url


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    """Return opened Resources over an empty database."""
    async with opened(database_url, tmp_path) as found:
        yield found


@pytest_asyncio.fixture
async def client(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the real application, called in process."""
    async with api.client_of(resources) as found:
        yield found


@pytest_asyncio.fixture
async def served(resources: Resources) -> AsyncIterator[str]:
    """Return the URL of the real application, served by uvicorn."""
    async with api.served(resources) as url:
        yield url
