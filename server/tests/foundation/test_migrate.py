import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import asyncpg
import pytest

from guardhouse.foundation import migrate, migration_files
from server.tests.components.postgres import Clone


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def empty_url(postgres: Clone, worker_id: str) -> Iterator[str]:
    """Return an owner's URL of a database without a schema."""
    server = postgres.server
    name = f"{server.prefix}_{worker_id}_empty"
    asyncio.run(
        run(
            server.superuser_url,
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name} OWNER {server.owner} TEMPLATE template0",
        )
    )
    yield server.url(name, server.owner)
    asyncio.run(run(server.superuser_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'S')"
            " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        return {row["relname"] for row in rows}
    finally:
        await connection.close()


def test_up_down_up_and_the_code_agrees(empty_url: str) -> None:
    assert migrate.current_now(empty_url) is None
    migrate.upgrade(empty_url)
    assert migrate.current_now(empty_url) == migration_files.head()
    migrate.check(empty_url)
    first = asyncio.run(tables(empty_url))
    migrate.downgrade(empty_url)
    assert migrate.current_now(empty_url) is None
    assert asyncio.run(tables(empty_url)) == {"alembic_version"}
    migrate.upgrade(empty_url)
    assert asyncio.run(tables(empty_url)) == first
    migrate.check(empty_url)


def test_every_step_goes_down_and_up_again(empty_url: str) -> None:
    steps = [name for name, forward in migrate.path(None, "head") if forward]
    migrate.upgrade(empty_url)
    for place in range(len(steps) - 1, 0, -1):
        migrate.downgrade(empty_url, to=steps[place - 1])
        migrate.upgrade(empty_url, to=steps[place])
        migrate.downgrade(empty_url, to=steps[place - 1])
    migrate.upgrade(empty_url)
    migrate.check(empty_url)


def test_without_the_right_to_make_roles_one_wall_stays(empty_url: str) -> None:
    migrate.upgrade(empty_url, single_role=True)
    migrate.check(empty_url, single_role=True)
    migrate.downgrade(empty_url, single_role=True)
    assert migrate.current_now(empty_url) is None


def test_a_second_migration_waits_for_the_first_however_long(empty_url: str) -> None:
    """`lock_timeout` holds for advisory locks too; it must not be set before that lock is taken."""
    failures: list[BaseException] = []

    def migrate_now() -> None:
        try:
            migrate.upgrade(empty_url)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    async def hold() -> None:
        first = await asyncpg.connect(empty_url)
        try:
            await first.execute(f"SELECT pg_advisory_lock({migrate.ADVISORY_LOCK})")
            second = threading.Thread(target=migrate_now)
            second.start()
            began = time.monotonic()
            while time.monotonic() - began < 5.5 and second.is_alive():
                await asyncio.sleep(0.1)
            assert second.is_alive()
        finally:
            await first.close()
        await asyncio.to_thread(second.join, 60)

    asyncio.run(hold())
    assert failures == []
    assert migrate.current_now(empty_url) == migration_files.head()


def test_several_processes_at_once_do_the_work_once(empty_url: str) -> None:
    program = "import sys; from guardhouse.foundation import migrate; migrate.upgrade(sys.argv[1])"
    running = [subprocess.Popen([sys.executable, "-c", program, empty_url]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    migrate.check(empty_url)


def test_the_way_from_one_revision_to_another() -> None:
    line = [name for name, _ in migrate.path(None, "head")]
    assert line[0] == "0001"
    assert line[-1] == migration_files.head()
    assert migrate.path("0003", "0001") == [("0002", False), ("0001", False)]
    assert migrate.path("0001", "base") == [("base", False)]
    assert migrate.path(None, "base") == []
    assert migrate.path("0002", "0002") == []


def test_the_sql_is_printed_without_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    migrate.print_sql()
    printed = capsys.readouterr().out
    assert "CREATE TABLE tenants" in printed
    assert "FORCE ROW LEVEL SECURITY" in printed


def test_the_head_read_from_file_names_is_alembics() -> None:
    assert migration_files.head() == migrate.path(None, "head")[-1][0]
