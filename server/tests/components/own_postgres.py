"""Find a PostgreSQL of this machine that lets us make databases: prints its address, or nothing."""

import asyncio
import contextlib
import getpass

import asyncpg

PLACE = "127.0.0.1:5432"


async def find() -> str | None:
    """Return the address at which one of the usual superusers gets in without a password."""
    for user in dict.fromkeys((getpass.getuser(), "postgres")):
        url = f"postgresql://{user}@{PLACE}/postgres"
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(url, timeout=3)
            try:
                if await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
                    return url
            finally:
                await connection.close()
    return None


if __name__ == "__main__":
    print(asyncio.run(find()) or "")
