"""Every migration goes up, down and up again, and leaves the tables that the code declares."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import pytest

from guardhouse.foundation import migrate, migration_files
from server.tests.components.postgres import Clone

TABLES = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"


def ask(url: str, sql: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture
def scratch_url(postgres: Clone) -> Iterator[str]:
    """Yield the owner's address of an empty database."""
    server, name = postgres.server, f"{postgres.name}_scratch"
    ask(server.superuser_url, f"CREATE DATABASE {name} OWNER {server.owner} TEMPLATE template0")
    yield server.url(name, server.owner)
    ask(server.superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_up_down_up_leaves_what_the_code_declares(scratch_url: str) -> None:
    migrate.upgrade(scratch_url)
    first = ask(scratch_url, TABLES)
    migrate.check(scratch_url)
    migrate.downgrade(scratch_url)
    assert ask(scratch_url, TABLES) == ["alembic_version", "alembic_version_pkc"]
    assert migrate.current_now(scratch_url) is None
    migrate.upgrade(scratch_url)
    assert ask(scratch_url, TABLES) == first
    assert migrate.current_now(scratch_url) == migration_files.head()


def test_every_step_can_be_taken_back_alone(scratch_url: str) -> None:
    for revision, _ in migrate.path(None, "head"):
        migrate.upgrade(scratch_url, to=revision)
        migrate.downgrade(scratch_url, to="-1")
        migrate.upgrade(scratch_url, to=revision)
    assert migrate.current_now(scratch_url) == migration_files.head()


def test_several_at_once_do_the_work_once(scratch_url: str) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "guardhouse.cli.main", "migrate"],
            env={**os.environ, "GUARDHOUSE_DATABASE_URL": scratch_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [program.communicate(timeout=100)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], said
    assert migrate.current_now(scratch_url) == migration_files.head()


def test_the_path_goes_both_ways() -> None:
    line = [name for name, _ in migrate.path(None, "head")]
    assert line == sorted(line)
    assert migrate.path(line[-1], "head") == []
    back = migrate.path(line[2], "base")
    assert back == [(line[1], False), (line[0], False), ("base", False)]
    assert migrate.path(line[0], line[2]) == [(line[1], True), (line[2], True)]


def test_the_head_read_from_file_names_is_alembics() -> None:
    assert migration_files.head() == migrate.path(None, "head")[-1][0]
