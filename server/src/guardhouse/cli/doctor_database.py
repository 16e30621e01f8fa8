"""Doctor's look at PostgreSQL and the object store, by using them."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any, cast

import asyncpg

from guardhouse.cli import database_sentence
from guardhouse.cli.finding import Finding, failure, good, warning
from guardhouse.cli.local_settings import owner_url
from guardhouse.foundation import migrate, migration_files
from guardhouse.foundation.objects import LocalObjects
from guardhouse.foundation.postgres_roles import SYSTEM_ROLE, TENANT_ROLE
from guardhouse.foundation.resources import objects_dir
from guardhouse.foundation.start_error import StartError
from guardhouse.settings import Settings

OLDEST_MAJOR = 15
_FACTS = """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
           current_setting('server_encoding') AS encoding, current_setting('TimeZone') AS timezone,
           coalesce((SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user), false) AS unwalled,
           ARRAY(SELECT name FROM unnest($1::text[]) AS name
                 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
                    OR NOT pg_has_role(current_user, name, 'MEMBER')) AS missing,
           pg_size_pretty(pg_database_size(current_database())) AS size
"""


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is found in database and object store."""
    yield from _database(settings)
    yield _objects(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        url = settings.database_url.get_secret_value() if settings.database_url else owner_url(settings)
    except StartError as error:
        yield warning("PostgreSQL", "no database yet", str(error))
        return
    try:
        facts = asyncio.run(_facts(url))
        current = migrate.current_now(owner_url(settings))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        yield failure("PostgreSQL", "cannot be used", database_sentence.explain(error, url))
        return
    yield from _judge(facts, single_role=settings.single_role)
    head = migration_files.head()
    if current == head:
        yield good("Migrations", f"at {head}, the newest")
    else:
        yield failure(
            "Migrations", f"at {current or 'nothing'}, newest is {head}", "Run `guardhouse migrate`."
        )


def _judge(facts: dict[str, Any], *, single_role: bool) -> Iterator[Finding]:
    found = f"{facts['version']}, {facts['size']}"
    if facts["major"] >= OLDEST_MAJOR:
        yield good("PostgreSQL", found)
    else:
        yield failure("PostgreSQL", found, f"Use PostgreSQL {OLDEST_MAJOR} or later.")
    if facts["encoding"] == "UTF8":
        yield good("Encoding", "UTF8")
    else:
        yield failure("Encoding", facts["encoding"], "Create the database anew with ENCODING 'UTF8'.")
    if facts["timezone"] in {"UTC", "Etc/UTC"}:
        yield good("Time zone", facts["timezone"])
    else:
        yield warning(
            "Time zone", facts["timezone"], "Harmless, our sessions set UTC; set timezone = 'UTC' to match."
        )
    if single_role:
        return
    if facts["missing"]:
        roles = ", ".join(facts["missing"])
        yield failure("Roles", f"the login may not become {roles}", f"As owner: GRANT {roles} TO the login.")
    elif facts["unwalled"]:
        yield warning("Roles", "the login is above row-level security", "Serve with a login of its own.")
    else:
        yield good("Roles", f"the login becomes {TENANT_ROLE} or {SYSTEM_ROLE}, and is nothing by itself")


async def _facts(url: str) -> dict[str, Any]:
    connection = await asyncpg.connect(
        url.replace("postgresql+asyncpg://", "postgresql://", 1), timeout=5, command_timeout=10
    )
    try:
        return dict(cast("asyncpg.Record", await connection.fetchrow(_FACTS, [TENANT_ROLE, SYSTEM_ROLE])))
    finally:
        await connection.close()


def _objects(settings: Settings) -> Finding:
    key, content = f"doctor/{secrets.token_hex(8)}", b"guardhouse doctor"

    async def use() -> bytes:
        store = LocalObjects(objects_dir(settings))
        await store.put(key, content)
        try:
            return await store.get(key)
        finally:
            await store.delete(key)

    try:
        found = asyncio.run(use())
    except (OSError, StartError) as error:
        return failure(
            "Objects", str(error), "Correct GUARDHOUSE_OBJECTS_URL, or the folder's owner and space."
        )
    if found != content:
        return failure("Objects", "what was read is not what was written", "Check the disk.")
    return good("Objects", f"put, get and delete work in {objects_dir(settings)}")
