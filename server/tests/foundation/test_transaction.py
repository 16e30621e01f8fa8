import asyncio
import socket
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from guardhouse.events import partitions
from guardhouse.events.store import COPIED
from guardhouse.foundation import migrate
from guardhouse.foundation.database import DatabaseAway, TenantKey, Tx, normal_url, open_database
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.identity import make

DAY = date(2026, 1, 1)


async def prepared(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, DAY)


def event_row(tenant_no: int, event_id: UUID | None = None) -> tuple[object, ...]:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    given = {
        "event_id": event_id or uuid4(), "occurred_at": at, "received_at": at, "tenant_no": tenant_no,
        "agent_no": 1, "position": 1, "source_no": 1, "kind": 1, "flags": 0,
    }  # fmt: skip
    return tuple(given.get(name) for name in COPIED)


async def count_events(database: Clone) -> int:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        found: int = await connection.fetchval("SELECT count(*) FROM process_events")
        return found
    finally:
        await connection.close()


async def test_a_copy_before_any_statement_belongs_to_the_transaction(
    resources: Resources, database: Clone
) -> None:
    """Through SQLAlchemy's driver connection such a COPY would commit by itself (performance.md, traps)."""
    await prepared(resources)
    tenant = (await make.tenant(resources)).key
    with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012 - the block is the transaction
        async with tenant_transaction(resources.database, tenant) as tx:
            await tx.copy("process_events_p20260101", COPIED, [event_row(tenant.no)])
            raise RuntimeError("on purpose")
    assert await count_events(database) == 0
    async with tenant_transaction(resources.database, tenant) as tx:
        await tx.copy("process_events_p20260101", COPIED, [event_row(tenant.no)])
        assert await count_events(database) == 0
    assert await count_events(database) == 1


async def test_copy_is_the_one_door_without_a_policy_and_only_code_guards_it(
    resources: Resources, database: Clone
) -> None:
    """Policies do not reach COPY into a partition: the tenant's number must come from Caller alone.

    This is the documented hole behind which ``ingest`` stands (architecture §8); reading is closed all the same.
    """
    await prepared(resources)
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    async with tenant_transaction(resources.database, a.key) as tx:
        await tx.copy("process_events_p20260101", COPIED, [event_row(b.no)])
        assert await tx.fetch_value("SELECT count(*) FROM process_events") == 0
    assert await count_events(database) == 1
    for statement in (
        "SELECT count(*) FROM process_events_p20260101",
        "DELETE FROM process_events_p20260101",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant_transaction(resources.database, b.key) as tx:
                await tx.fetch_value(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):  # noqa: PT012 - the block is the transaction
        async with tenant_transaction(resources.database, a.key) as tx:
            columns = ", ".join(COPIED)
            places = ", ".join(f"${n}" for n in range(1, len(COPIED) + 1))
            await tx.run(f"INSERT INTO process_events ({columns}) VALUES ({places})", *event_row(b.no))


async def test_a_tenant_sees_and_changes_its_own_rows_alone(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    await make.key(resources, a)
    key_of_b, _ = await make.key(resources, b)
    async with tenant_transaction(resources.database, a.key) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 1
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 1
        assert await tx.run("DELETE FROM api_keys WHERE key_id = $1", key_of_b.id) == "DELETE 0"
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 2


async def test_a_forged_tenant_setting_inside_does_not_outlive_the_transaction(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    async with tenant_transaction(resources.database, b.key) as tx:
        assert await tx.fetch_value("SELECT slug FROM tenants") == "b"
    async with tenant_transaction(resources.database, a.key) as tx:
        assert await tx.fetch_value("SELECT slug FROM tenants") == "a"
    raw = await resources.database.engine.connect()
    try:
        found = await raw.execute(text("SELECT current_setting('guardhouse.tenant', true), current_user"))
        setting, user = found.one()
    finally:
        await raw.close()
    assert not setting
    assert not str(user).startswith("guardhouse_")


async def test_a_role_that_is_dropped_inside_sees_nothing(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):  # noqa: PT012 - the block is the transaction
        async with tenant_transaction(resources.database, tenant.key) as tx:
            await tx.run("RESET ROLE")
            await tx.fetch("SELECT * FROM tenants")


async def test_an_unset_tenant_matches_no_row(resources: Resources) -> None:
    await make.tenant(resources)
    async with tenant_transaction(resources.database, TenantKey(UUID(int=1), 0)) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 0
        await tx.run("SELECT set_config('guardhouse.tenant', '', true)")
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 0


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with opened(f"postgresql://u:p@127.0.0.1:{port}/none", tmp_path) as lost:
        with pytest.raises(DatabaseAway) as caught:
            async with system_transaction(lost.database):
                raise AssertionError("not reached")
    assert (caught.value.status, caught.value.code) == (503, "unavailable")
    assert int(caught.value.headers["Retry-After"]) >= 1


async def test_a_connection_lost_in_the_middle_or_before_commit_is_unavailable(
    resources: Resources, database: Clone
) -> None:
    superuser = await asyncpg.connect(database.superuser_url)

    async def cut(tx: Tx) -> None:
        await superuser.execute(
            "SELECT pg_terminate_backend($1)", await tx.fetch_value("SELECT pg_backend_pid()")
        )

    try:
        with pytest.raises(DatabaseAway):  # noqa: PT012 - the block is the transaction
            async with system_transaction(resources.database) as tx:
                await cut(tx)
                await tx.fetch_value("SELECT 1")
        with pytest.raises(DatabaseAway):  # noqa: PT012 - the block is the transaction
            async with system_transaction(resources.database) as tx:
                await cut(tx)
                await tx.execute(text("SELECT 1"))
        with pytest.raises(DatabaseAway):
            async with system_transaction(resources.database) as tx:
                await cut(tx)  # only the commit is left to fail
        async with system_transaction(resources.database) as tx:
            assert await tx.fetch_value("SELECT 1") == 1
    finally:
        await superuser.close()


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), ConnectionResetError("another server"), KeyError("x")]
)
async def test_a_fault_inside_the_block_stays_what_it_is(resources: Resources, error: Exception) -> None:
    with pytest.raises(type(error)):
        async with system_transaction(resources.database):
            raise error


async def test_a_wrong_statement_is_a_fault_and_not_unavailable(resources: Resources) -> None:
    with pytest.raises(asyncpg.InterfaceError):
        async with system_transaction(resources.database) as tx:
            await tx.fetch("SELECT $1::int", 1, 2)
    with pytest.raises(asyncpg.UndefinedTableError):
        async with system_transaction(resources.database) as tx:
            await tx.fetch("SELECT * FROM nothing_here")


async def test_a_full_pool_a_lock_and_a_slow_statement_are_unavailable(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database_url, tmp_path, database_pool_size=1) as resources:
        with pytest.raises(DatabaseAway):  # noqa: PT012 - the block is the transaction
            async with system_transaction(resources.database) as tx:
                await tx.run("SET LOCAL statement_timeout = '50ms'")
                await tx.fetch("SELECT pg_sleep(2)")
        monkeypatch.setattr(resources.database.engine.pool, "_timeout", 0.1)
        async with system_transaction(resources.database):
            with pytest.raises(DatabaseAway):
                async with system_transaction(resources.database):
                    raise AssertionError("not reached")


async def test_leaving_by_cancellation_rolls_back(resources: Resources) -> None:
    started = asyncio.Event()

    async def slow() -> None:
        async with system_transaction(resources.database) as tx:
            await tx.run("INSERT INTO tenants (tenant_id, slug, name, state, env, settings, created_at)"
                         " VALUES (gen_random_uuid(), 'x', 'X', 'active', 'live', '{}', now())")  # fmt: skip
            started.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(slow())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 0


async def test_errors_do_not_show_values(resources: Resources) -> None:
    with pytest.raises(Exception, match="divi") as caught:
        async with system_transaction(resources.database) as tx:
            await tx.execute(text("SELECT 1 / (length(:secret) - 5)"), {"secret": "tiger"})
    assert "tiger" not in str(caught.value)
    assert resources.database.url not in repr(resources)


def test_urls() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        assert normal_url(f"{scheme}://h/d") == "postgresql+asyncpg://h/d"
    with pytest.raises(ValueError, match="postgresql"):
        normal_url("mysql://h/d")
    database = open_database("postgres://u@h/d", single_role=True, pool_size=1)
    assert database.driver_url == "postgresql://u@h/d"


CATALOGUE = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
       array(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY 1) AS policies,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'tenant_no')) AS owned
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition AND c.relname <> 'alembic_version' ORDER BY 1
"""
PARTITIONS = """
SELECT c.relname, p.relname AS parent,
       has_table_privilege('guardhouse_tenant', c.oid, 'SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR
       has_table_privilege('guardhouse_system', c.oid, 'SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS open,
       has_table_privilege('guardhouse_tenant', c.oid, 'INSERT') AS filled,
       has_table_privilege('guardhouse_tenant', p.oid, 'INSERT') AS may_fill
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relkind = 'r'
"""


async def test_every_table_stands_behind_forced_policies(resources: Resources, database: Clone) -> None:
    await prepared(resources)
    async with system_transaction(resources.database) as tx:
        for parent in await tx.fetch("SELECT partrelid::regclass::text AS name FROM pg_partitioned_table"):
            await tx.fetch_value("SELECT guardhouse_create_day($1, $2)", parent["name"], DAY)
    connection = await asyncpg.connect(database.superuser_url)
    try:
        tables = await connection.fetch(CATALOGUE)
        assert len(tables) >= 20
        for table in tables:
            assert table["relrowsecurity"], table
            assert table["relforcerowsecurity"], table
            assert {"owner", "system"} <= set(table["policies"]), table
            assert ("tenant" in table["policies"]) == table["owned"], table
        days = await connection.fetch(PARTITIONS)
        assert {day["parent"] for day in days} >= {"process_events", "scores", "notices", "events", "metrics"}
        for day in days:
            assert not day["open"], day
            assert day["filled"] == day["may_fill"], day
    finally:
        await connection.close()


async def test_the_login_alone_sees_nothing(database: Clone) -> None:
    login = await asyncpg.connect(database.database_url.replace("+asyncpg", ""))
    superuser = await asyncpg.connect(database.superuser_url)
    try:
        for table in await superuser.fetch(CATALOGUE):
            for statement in ("SELECT * FROM", "DELETE FROM"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await login.execute(f"{statement} {table['relname']}")
    finally:
        await login.close()
        await superuser.close()


def test_stores_describe_what_migrations_make(owner_url: str) -> None:
    migrate.check(owner_url)
