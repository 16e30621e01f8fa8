"""Transactions begin and end here: a visible block, opened at an edge, never held across network I/O.

Each begins with one round trip that takes a role and names the tenant, so that row-level security is the
second wall behind every statement; the login role alone sees nothing, and a forgotten begin fails closed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from guardhouse.foundation.database import Database, DatabaseAway, TenantKey, Tx

_ENTER = text(
    "SELECT set_config('role', :role, true), set_config('guardhouse.tenant', :tenant, true),"
    " set_config('guardhouse.tenant_no', :tenant_no, true)"
)
_ENTER_SINGLE = text(
    "SELECT set_config('guardhouse.tenant', :tenant, true), set_config('guardhouse.tenant_no', :tenant_no, true)"
)
_AWAY = (
    OSError,
    PoolTimeout,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OutOfMemoryError,
)


@asynccontextmanager
async def tenant_transaction(database: Database, tenant: TenantKey) -> AsyncIterator[Tx]:
    """Open a transaction that sees the rows of one tenant; commits at the end, rolls back on any error.

    Raises:
        DatabaseAway: PostgreSQL cannot be reached or lost the transaction; nothing was stored.
    """
    async with _transaction(database, "guardhouse_tenant", tenant) as tx:
        yield tx


@asynccontextmanager
async def system_transaction(database: Database) -> AsyncIterator[Tx]:
    """Open a transaction that sees every tenant: for workers, sign-in and the platform's own reads.

    Raises:
        DatabaseAway: PostgreSQL cannot be reached or lost the transaction; nothing was stored.
    """
    async with _transaction(database, "guardhouse_system", None) as tx:
        yield tx


@asynccontextmanager
async def _transaction(database: Database, role: str, tenant: TenantKey | None) -> AsyncIterator[Tx]:
    try:
        async with database.engine.begin() as connection:
            names = {
                "tenant": str(tenant.id) if tenant else "",
                "tenant_no": str(tenant.no) if tenant else "",
            }
            if database.single_role:
                await connection.execute(_ENTER_SINGLE, names)
            else:
                await connection.execute(_ENTER, names | {"role": role})
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            if driver is None:
                raise DatabaseAway("The database connection was lost.")
            yield Tx(connection, driver, tenant)
    except _AWAY as error:
        raise DatabaseAway("The database cannot be reached at the moment.") from error
    except DBAPIError as error:
        if isinstance(error, (InterfaceError, OperationalError)) or _is_away(error):
            raise DatabaseAway("The database cannot be reached at the moment.") from error
        raise


def _is_away(error: DBAPIError) -> bool:
    cause: BaseException | None = error.orig
    while cause is not None:
        if isinstance(cause, _AWAY):
            return True
        cause = cause.__cause__
    return error.connection_invalidated
