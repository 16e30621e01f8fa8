"""Resources of the product over a test's database."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys, tenants
from guardhouse.identity.keys import NewKey
from guardhouse.settings import Settings

_SECRET = base64.urlsafe_b64encode(bytes(range(32))).decode()


def settings_for(database_url: str, folder: Path, **changed: Any) -> Settings:
    """Return settings that reach one database and keep files in one folder; the worker opens no port."""
    values: dict[str, Any] = {
        "database_url": SecretStr(database_url),
        "data_dir": folder,
        "anonymous_per_minute": 0,  # tests of everything else call as often as they like
        "master_key": SecretStr(_SECRET),
        "key_peppers": SecretStr(f"test:{_SECRET}"),
        "worker_metrics_port": 0,
    }
    return Settings(**values | changed)


@asynccontextmanager
async def opened(
    database_url: str, folder: Path, *, clock: Clock | None = None, **changed: Any
) -> AsyncIterator[Resources]:
    """Open Resources for the length of a test."""
    async with open_resources(settings_for(database_url, folder, **changed), clock=clock) as resources:
        yield resources


async def add_tenant(
    resources: Resources, slug: str, *, role: str = "admin", scopes: tuple[str, ...] | None = None
) -> tuple[TenantKey, str]:
    """Make a tenant with a key of one role (``scopes``: some of it); return the tenant and the key's text."""
    async with system_transaction(resources.database) as tx:
        tenant = await tenants.create_tenant(tx, resources.clock, slug, slug.title())
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, NewKey("test", role, scopes), created_by="test"
        )
        await tx.run("DELETE FROM notices")  # that a key was made; tests count what they say themselves
    return tenant.key, text
