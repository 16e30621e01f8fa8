import asyncpg
import pytest

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from server.tests.identity import make

KEY = "gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW"


async def test_entries_form_one_chain_and_hold_no_secret(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    actor = Actor(tenant.id, "key:1", "1")
    for number in range(3):
        async with tenant_transaction(resources.database, tenant.key) as tx:
            after = {"name": f"n{number}", "secret": "x", "note": f"uses {KEY}"}
            await record(tx, actor, Entry("key.create", f"key:{number}", after=after))
    async with tenant_transaction(resources.database, tenant.key) as tx:
        rows = await tx.fetch(
            "SELECT *, guardhouse_audit_hash(prev_hash, audit_log) AS again FROM audit_log ORDER BY seq"
        )
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert rows[0]["prev_hash"] == b""
    assert [row["prev_hash"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]
    assert all(row["hash"] == row["again"] for row in rows)
    assert all(KEY not in row["after"] and '"x"' not in row["after"] for row in rows)


@pytest.mark.parametrize(
    "change", ["UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_nobody_changes_what_was_recorded(resources: Resources, owner_url: str, change: str) -> None:
    tenant = await make.tenant(resources)
    async with system_transaction(resources.database) as tx:
        await record(tx, Actor(tenant.id, "system:test"), Entry("tenant.create", f"tenant:{tenant.id}"))
    connection = await asyncpg.connect(owner_url.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with system_transaction(resources.database) as tx:
            await tx.run(change)
