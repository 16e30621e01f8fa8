"""A tenant and a client of it."""

import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens.store import Client
from server.tests.identity import make
from server.tests.identity.oauth import make as oauth


@pytest.fixture
async def tenant(resources: Resources) -> Tenant:
    return await make.tenant(resources)


@pytest.fixture
async def known(resources: Resources, tenant: Tenant) -> tuple[Client, str]:
    return await oauth.client(resources, tenant, "analyst")
