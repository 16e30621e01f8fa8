"""The test twin of a tenant: where its `gh_test_` keys act. Isolation between the two is that of two tenants.

A twin is made at first use, follows its tenant's state, and has a slug that no tenant can be given.
"""

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.identity import store
from guardhouse.identity.store import Tenant


async def ensure_twin(tx: Tx, clock: Clock, tenant: Tenant) -> Tenant:
    """Return the tenant's twin, made now if need be; a twin is its own."""
    if tenant.twin_of is not None:
        return tenant
    found = await store.find_twin(tx, tenant.id)
    if found is None:
        values = {
            "tenant_id": new_id(),
            "slug": f"{tenant.slug}.test",
            "name": f"{tenant.name} (test)",
            "env": "test",
            "twin_of": tenant.id,
            "created_at": clock.now(),
        }
        found = await store.add_tenant(tx, values) or await store.find_twin(tx, tenant.id)
    if found is None:
        raise RuntimeError(f"the twin of {tenant.slug} can be neither made nor found")
    return found
