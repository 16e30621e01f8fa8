"""A database for one bench: of the server named by GUARDHOUSE_BENCH_DATABASE_URL, or of one started for it.

Durable, as in production: nothing is switched off for the figures.
"""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from guardhouse.foundation.data_folder import DataFolder
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres

SETTING = "GUARDHOUSE_BENCH_DATABASE_URL"


@contextmanager
def server() -> Iterator[str]:
    """Yield the superuser's URL of a PostgreSQL server."""
    given = os.environ.get(SETTING)
    if given:
        yield given
        return
    place = Path(tempfile.mkdtemp(prefix="guardhouse-bench-"))
    place.chmod(0o711)
    try:
        with DataFolder.open(place) as folder, EmbeddedPostgres(folder) as postgres:
            yield postgres.superuser_url.replace("+asyncpg", "")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def database(superuser_url: str) -> Iterator[str]:
    """Yield the URL of an empty database that is dropped at the end."""
    name = f"bench_{secrets.token_hex(4)}"
    asyncio.run(_run(superuser_url, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(superuser_url)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_run(superuser_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
