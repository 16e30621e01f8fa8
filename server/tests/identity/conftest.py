"""What tests of tokens and sign-in share: the application with loopback opened to outgoing requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.identity.store import Tenant
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.identity.issuers.make import OwnIssuer, own_issuer


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def house(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    """Resources that may reach loopback, at a set time."""
    async with opened(database_url, tmp_path, clock=clock, egress_allow=["127.0.0.1/32:*"]) as found:
        yield found


@pytest.fixture
async def door(house: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """The application over the house."""
    async with api.client_of(house) as found:
        yield found


@pytest.fixture
async def owner(house: Resources) -> Tenant:
    """A tenant of the house."""
    return await make.tenant(house)


@pytest.fixture
async def chief(house: Resources, owner: Tenant) -> dict[str, str]:
    """The headers of its admin."""
    return make.bearing((await make.key(house, owner))[1])


@pytest.fixture
async def issuer() -> AsyncIterator[OwnIssuer]:
    """An issuer of the test's own."""
    async with own_issuer() as found:
        yield found
