"""Tenants: made by the platform, found by their slug, suspended and closed with all their credentials."""

import re
from dataclasses import replace
from typing import Final
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.identity import store
from guardhouse.identity.store import Tenant

PLATFORM: Final = "platform"  # the slug of the tenant that owns the installation
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


async def create_tenant(tx: Tx, clock: Clock, slug: str, name: str, *, by: Actor | None = None) -> Tenant:
    """Make a tenant; ``by`` is who asked for it, where somebody did.

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
    tenant = await store.add_tenant(
        tx, {"tenant_id": new_id(), "slug": slug, "name": name, "env": "live", "created_at": clock.now()}
    )
    if tenant is None:
        raise Conflict(f"There is a tenant named {slug} already.")
    if by is not None:
        await _record(tx, by, tenant, Entry("tenant.create", f"tenant:{slug}", after={"name": name}))
    return tenant


async def find_tenant(tx: Tx, slug: str) -> Tenant | None:
    """Return the tenant with this slug, or None."""
    return await store.find_tenant(tx, slug)


async def find_by_id(tx: Tx, tenant_id: UUID) -> Tenant | None:
    """Return the tenant, or the test twin, with this id, or None."""
    return await store.find_tenant_by_id(tx, tenant_id)


async def get_tenant(tx: Tx, tenant_id: UUID) -> Tenant:
    """Return a tenant.

    Raises:
        NotFound: there is none with this id.
    """
    tenant = await store.get_tenant(tx, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


async def list_tenants(
    tx: Tx, *, state: str | None = None, after: int = 0, limit: int | None = None
) -> list[Tenant]:
    """Return tenants, oldest first, without their test twins."""
    return await store.list_tenants(tx, state=state, after=after, limit=limit)


async def set_state(tx: Tx, tenant_id: UUID, state: str, *, by: Actor, reason: str | None) -> Tenant:
    """Suspend, close or open again a tenant and its twin; effective everywhere within a second, repeatable.

    Raises:
        NotFound: there is none with this id.
        Conflict: it is closed for good, or it is the platform's own.
    """
    tenant = await store.get_tenant(tx, tenant_id, lock=True)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    if tenant.state == state:
        return tenant
    if tenant.slug == PLATFORM:
        raise Conflict("The platform's own tenant stays active.")
    if tenant.state == "closed":
        raise Conflict("The tenant is closed for good.")
    await store.set_tenant_state(tx, tenant_id, state)
    await store.notify_change(tx)
    entry = Entry(
        f"tenant.{_VERBS[state]}", f"tenant:{tenant.slug}", {"state": tenant.state}, {"state": state}, reason
    )
    await _record(tx, by, tenant, entry)
    return replace(tenant, state=state)


_VERBS: Final = {"active": "activate", "suspended": "suspend", "closed": "close"}


async def _record(tx: Tx, by: Actor, tenant: Tenant, entry: Entry) -> None:
    """Record in the log of whoever acts, then in the tenant's own: always in this order, so nobody waits in a ring."""
    await record(tx, by, entry)
    if by.tenant_id != tenant.id:
        await record(tx, replace(by, tenant_id=tenant.id), entry)
