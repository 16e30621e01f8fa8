"""Tenants: made by the platform, found by their slug."""

import re
from typing import Final

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.identity import store
from guardhouse.identity.store import Tenant

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


async def create_tenant(tx: Tx, clock: Clock, slug: str, name: str) -> Tenant:
    """Make a tenant.

    Raises:
        ValidationFailed: the slug is not ``[a-z0-9][a-z0-9-]{0,62}``.
        Conflict: the slug is taken.
    """
    if not _SLUG.fullmatch(slug):
        raise ValidationFailed(
            "The slug is not usable.",
            errors=[
                {"pointer": "/slug", "code": "pattern", "detail": "lower case letters, digits and dashes"}
            ],
        )
    if await store.find_tenant(tx, slug) is not None:
        raise Conflict(f"There is a tenant named {slug} already.")
    return await store.add_tenant(tx, new_id(), slug, name, clock.now())


async def find_tenant(tx: Tx, slug: str) -> Tenant | None:
    """Return the tenant with this slug, or None."""
    return await store.find_tenant(tx, slug)


async def list_tenants(tx: Tx) -> list[Tenant]:
    """Return every tenant, oldest first."""
    return await store.list_tenants(tx)
