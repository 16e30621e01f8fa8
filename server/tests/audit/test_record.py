import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

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


async def test_an_entry_is_written_with_the_commit_and_not_before(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    count = "SELECT count(*) FROM audit_log WHERE action = 'thing.change'"
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await record(tx, Actor(tenant.id, "key:1"), Entry("thing.change", "thing:1"))
        assert await tx.fetch_value(count) == 0
    async with tenant_transaction(resources.database, tenant.key) as tx:
        assert await tx.fetch_value(count) == 1


async def test_who_has_recorded_and_not_committed_holds_nobody_up(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    async with tenant_transaction(resources.database, tenant.key) as slow:
        await record(slow, Actor(tenant.id, "key:slow"), Entry("thing.change", "thing:1"))
        async with tenant_transaction(resources.database, tenant.key) as quick:
            await record(quick, Actor(tenant.id, "key:quick"), Entry("thing.change", "thing:2"))
    async with tenant_transaction(resources.database, tenant.key) as tx:
        rows = await tx.fetch("SELECT actor FROM audit_log WHERE action = 'thing.change' ORDER BY seq")
    assert [row["actor"] for row in rows] == ["key:quick", "key:slow"]


async def test_whatever_text_an_entry_has_is_what_is_stored(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    hostile = "o'clock \\' ; DROP TABLE audit_log; -- $1 Ω"
    entry = Entry("thing.change", f"thing:{hostile}", {"was": hostile}, {"is": [hostile]}, hostile)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await record(tx, Actor(tenant.id, f"user:{hostile}", hostile), entry)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        row = await tx.fetch_row(
            "SELECT actor, credential, target, before->>'was' AS was, after->'is'->>0 AS now, reason FROM audit_log"
            " WHERE action = 'thing.change'"
        )
    assert row is not None
    assert tuple(row) == (f"user:{hostile}", hostile, f"thing:{hostile}", hostile, hostile, hostile)


async def test_an_entry_for_another_tenant_is_refused_by_the_wall(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    with pytest.raises(DBAPIError, match="row-level security"):
        async with tenant_transaction(resources.database, a.key) as tx:
            await record(tx, Actor(b.id, "key:1"), Entry("thing.change", "thing:1"))
