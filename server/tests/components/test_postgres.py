"""The test database itself: every test gets an empty one, whatever the last one left."""

from uuid import uuid4

import asyncpg
import pytest

from guardhouse.foundation import migrate, migration_files
from server.tests.components.postgres import Clone

INSERT = """INSERT INTO tenants (tenant_id, slug, name, state, env, settings, created_at)
    SELECT gen_random_uuid(), 'tenant-' || n, 'Tenant', 'active', 'test', '{}', now()
    FROM generate_series(1, $1) AS n"""


@pytest.mark.parametrize("left", [1, 3000])
@pytest.mark.parametrize("again", [1, 2])
async def test_a_test_finds_no_row_of_another(database: Clone, left: int, again: int) -> None:
    assert again
    connection = await asyncpg.connect(database.superuser_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM tenants") == 0
        await connection.execute(INSERT, left)
    finally:
        await connection.close()


async def test_the_login_sees_nothing_until_it_takes_a_role(database_url: str) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT count(*) FROM tenants")
        await connection.execute("SELECT set_config('role', 'guardhouse_system', false)")
        assert await connection.fetchval("SELECT count(*) FROM tenants WHERE tenant_id <> $1", uuid4()) == 0
    finally:
        await connection.close()


def test_the_schema_is_at_head(owner_url: str) -> None:
    assert migrate.current_now(owner_url) == migration_files.head()
