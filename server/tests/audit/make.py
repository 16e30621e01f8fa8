"""Logs with entries, and hands that get at them behind the product's back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from guardhouse.audit import signing_key, verify
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.audit.verify import Walk
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity.store import Tenant


@dataclass(frozen=True, slots=True)
class Owner:
    """Whoever owns the tables: may switch triggers and walls off and write what it likes."""

    connection: "asyncpg.Connection[asyncpg.Record]"

    async def run(self, *statements: str) -> None:
        """Run statements on the log of a tenant with the guards off."""
        async with self.connection.transaction():
            for guard in ("DISABLE TRIGGER USER", "DISABLE ROW LEVEL SECURITY"):
                await self.connection.execute(f"ALTER TABLE audit_log {guard}")
            for statement in statements:
                await self.connection.execute(statement)
            for guard in ("ENABLE TRIGGER USER", "ENABLE ROW LEVEL SECURITY"):
                await self.connection.execute(f"ALTER TABLE audit_log {guard}")

    async def forget(self) -> None:
        """Empty every log: of what making tenants and keys has recorded."""
        await self.run("DELETE FROM audit_log", "DELETE FROM audit_heads")


@asynccontextmanager
async def owner_of(owner_url: str) -> AsyncIterator[Owner]:
    """Connect as the owner of the tables."""
    connection = await asyncpg.connect(owner_url.replace("+asyncpg", ""))
    try:
        yield Owner(connection)
    finally:
        await connection.close()


async def fill(resources: Resources, tenant: Tenant, count: int, **entry: Any) -> None:
    """Append so many entries, one transaction each."""
    for number in range(count):
        async with tenant_transaction(resources.database, tenant.key) as tx:
            members: dict[str, Any] = {"after": {"n": number}, "reason": "ünïcode, 5:x", **entry}
            await record(
                tx, Actor(tenant.id, "key:1", "1"), Entry("thing.change", f"thing:{number}", **members)
            )


async def verified(resources: Resources, tenant: Tenant, **span: int) -> Walk:
    """Verify a log."""
    async with system_transaction(resources.database) as tx:
        keys = await signing_key.trusted_keys(tx, resources.master_key)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        return await verify.verify(tx, tenant.id, keys, **span)
