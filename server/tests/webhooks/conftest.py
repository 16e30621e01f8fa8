"""Resources that may reach receivers on loopback, and one tenant."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from server.tests.components import api
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import Receiver, answer, receiving
from server.tests.webhooks.make import OPEN_LOOPBACK


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, egress_allow=OPEN_LOOPBACK) as found:
        yield found


@pytest_asyncio.fixture
async def acme(resources: Resources) -> tuple[TenantKey, str]:
    return await add_tenant(resources, "acme")


@pytest_asyncio.fixture
async def tenant(acme: tuple[TenantKey, str]) -> TenantKey:
    return acme[0]


@pytest_asyncio.fixture
async def admin(client: httpx.AsyncClient, acme: tuple[TenantKey, str]) -> httpx.AsyncClient:
    client.headers["X-API-Key"] = acme[1]
    return client


@pytest_asyncio.fixture
async def closed(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return an admin's client of an installation that opens no network, as by default."""
    async with opened(database_url, tmp_path) as found, api.client_of(found) as client:
        client.headers["X-API-Key"] = (await add_tenant(found, "acme"))[1]
        yield client


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answer(200)) as found:
        yield found
