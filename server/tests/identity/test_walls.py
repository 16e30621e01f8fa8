"""The two walls of the product's own transactions: the statement's tenant and the session's."""

import asyncpg
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import store
from guardhouse.identity.store import Tenant
from server.tests.identity import make


async def test_both_walls_must_agree(resources: Resources) -> None:
    """A statement that names one tenant in a transaction of another finds nothing, whichever of the two is forged."""
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    key, _ = await make.key(resources, a)
    async with tenant_transaction(resources.database, a.key) as tx:
        assert await store.get_key(tx, a.id, key.id) == key
        await tx.run("SELECT set_config('guardhouse.tenant', $1, true)", str(b.id))
        assert await store.get_key(tx, a.id, key.id) is None
        assert await store.get_key(tx, b.id, key.id) is None
    async with tenant_transaction(resources.database, b.key) as tx:
        await tx.run("SELECT set_config('guardhouse.tenant', $1, true)", str(a.id))
        assert await store.list_keys(tx, b.id, 10) == []


async def test_a_role_that_is_put_back_sees_nothing_more(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    await make.key(resources, tenant)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 1
    for statement in ("RESET ROLE", "SET LOCAL ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await read_after(resources, tenant, statement)


async def read_after(resources: Resources, tenant: Tenant, statement: str) -> None:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await tx.run(statement)
        await tx.fetch("SELECT FROM api_keys")


async def test_the_next_transaction_of_a_connection_inherits_nothing(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    await make.key(resources, a)
    for tenant, count in ((a, 1), (b, 0), (a, 1)):
        async with tenant_transaction(resources.database, tenant.key) as tx:
            assert await tx.fetch_value("SELECT count(*) FROM api_keys") == count
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT current_setting('guardhouse.tenant')") == ""
