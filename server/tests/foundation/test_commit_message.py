import asyncio

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.sql_literal import sql_literal
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from server.tests.components.postgres import Clone
from server.tests.identity import make

RENAME = "UPDATE tenants SET name = 'renamed'"


async def name_of(resources: Resources) -> str:
    async with system_transaction(resources.database) as tx:
        found: str = await tx.fetch_value("SELECT name FROM tenants WHERE slug = 'a'")
        return found


async def until_it_waits(database: Clone) -> None:
    watcher = await asyncpg.connect(database.superuser_url)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock' AND starts_with(query, $1)"
    )
    try:
        while not await watcher.fetchval(waiting, RENAME):
            await asyncio.sleep(0.01)
    finally:
        await watcher.close()


async def test_what_waits_for_commit_commits_with_the_rest(resources: Resources) -> None:
    await make.tenant(resources, "a")
    before = await name_of(resources)
    async with system_transaction(resources.database) as tx:
        tx.run_last(RENAME)
        tx.run_last("UPDATE tenants SET name = name || ' twice'")
        assert await tx.fetch_value("SELECT name FROM tenants WHERE slug = 'a'") == before
    assert await name_of(resources) == "renamed twice"


async def test_a_rollback_drops_what_waits_and_the_next_transaction_has_none_of_it(
    resources: Resources,
) -> None:
    await make.tenant(resources, "a")
    before = await name_of(resources)
    with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012 - the block is the transaction
        async with system_transaction(resources.database) as tx:
            tx.run_last(RENAME)
            raise RuntimeError("on purpose")
    assert await name_of(resources) == before


@pytest.mark.parametrize("after", [[], [RENAME]])
async def test_a_last_statement_that_fails_fails_the_whole(resources: Resources, after: list[str]) -> None:
    await make.tenant(resources, "a")
    before = await name_of(resources)
    with pytest.raises(DBAPIError, match="division by zero"):  # noqa: PT012 - the block is the transaction
        async with system_transaction(resources.database) as tx:
            await tx.run(RENAME)
            tx.run_last("SELECT 1/0")
            for statement in after:
                tx.run_last(statement)
    for _ in range(resources.database.engine.pool.size() + 1):  # type: ignore[attr-defined]  # a QueuePool
        assert await name_of(resources) == before  # on a connection that begins anew


async def test_settling_runs_it_at_once_and_only_once(resources: Resources) -> None:
    await make.tenant(resources, "a")
    async with system_transaction(resources.database) as tx:
        tx.run_last("UPDATE tenants SET name = name || '!' WHERE slug = 'a'")
        await tx.settle()
        assert str(await tx.fetch_value("SELECT name FROM tenants WHERE slug = 'a'")).endswith("!")
        await tx.settle()
    assert (await name_of(resources)).count("!") == 1


async def test_what_waits_is_said_behind_the_wall_of_its_moment(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    async with tenant_transaction(resources.database, a.key) as tx:
        tx.run_last("SELECT set_config('testing.first', current_setting('guardhouse.tenant'), true)")
        async with tx.inside(b.key):
            assert await tx.fetch_value("SELECT current_setting('testing.first')") == str(a.id)
            tx.run_last("SELECT set_config('testing.second', current_setting('guardhouse.tenant'), true)")
        assert await tx.fetch_value("SELECT current_setting('testing.second')") == str(b.id)


async def test_a_commit_that_is_given_up_while_it_waits_stores_nothing(
    resources: Resources, database: Clone
) -> None:
    await make.tenant(resources, "a")
    before = await name_of(resources)
    ready = asyncio.Event()

    async def change() -> None:
        async with system_transaction(resources.database) as tx:
            await tx.run("SELECT 1")
            tx.run_last(RENAME)
            ready.set()

    async with system_transaction(resources.database) as held:
        await held.run("SELECT 1 FROM tenants FOR UPDATE")
        task = asyncio.create_task(change())
        await ready.wait()
        await until_it_waits(database)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await name_of(resources) == before


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize(
    "text",
    [
        None, "", "plain", "'", "''", "\\", "\\'", "'\\", "a'; DROP TABLE tenants; --", "\\'; DROP TABLE tenants; --",
        "$$ $1 :name %s", "line\nline\r\t\x01", "Ω 守衛 🏠", "E'", "\\u0027", "\\047",
    ],
)  # fmt: skip
async def test_a_literal_is_read_back_as_it_was(
    resources: Resources, text: str | None, conforming: str
) -> None:
    connection = await asyncpg.connect(resources.database.driver_url)
    try:
        await connection.execute(f"SET standard_conforming_strings = {conforming}")
        assert await connection.fetchval(f"SELECT {sql_literal(text)}::text") == text
    finally:
        await connection.close()


def test_a_literal_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        sql_literal("a\0b")
