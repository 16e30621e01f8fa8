"""Transactions begin and end here: a visible block, opened at an edge, never held across network I/O.

Each begins with one round trip that takes a role and names the tenant, so that row-level security is the
second wall behind every statement; the login role alone sees nothing, and a forgotten begin fails closed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from guardhouse.foundation.commit_message import Link
from guardhouse.foundation.database import Database, DatabaseAway, TenantKey, Tx

_ENTER = text(
    "SELECT set_config('role', :role, true), set_config('guardhouse.tenant', :tenant, true),"
    " set_config('guardhouse.tenant_no', :tenant_no, true)"
)
_ENTER_SINGLE = text(
    "SELECT set_config('guardhouse.tenant', :tenant, true), set_config('guardhouse.tenant_no', :tenant_no, true)"
)
# What PostgreSQL itself says when it cannot serve for the moment.
_BUSY = (
    TimeoutError,  # no answer within the command timeout
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OutOfMemoryError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
# What a connection that could not be made, or is gone, raises; on a living one these are faults of ours.
_CUT = (OSError, PoolTimeout, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError)


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
    driver: Link | None = None
    try:
        async with database.engine.begin() as connection:
            driver = await _driver_of(connection)
            names = {
                "tenant": str(tenant.id) if tenant else "",
                "tenant_no": str(tenant.no) if tenant else "",
            }
            if database.single_role:
                await connection.execute(_ENTER_SINGLE, names)
            else:
                await connection.execute(_ENTER, names | {"role": role})
            yield Tx(connection, driver, tenant)
    except Exception as error:
        cut = driver is None or driver.is_closed()
        if isinstance(error, _CUT if cut else _BUSY) or _is_busy(error):
            raise DatabaseAway("The database cannot serve this at the moment.") from error
        raise
    if driver.waits:  # never: the driver would end transactions with another text than it did
        raise RuntimeError("what was to go along with COMMIT was left behind")


async def _driver_of(connection: AsyncConnection) -> Link:
    raw = await connection.get_raw_connection()
    driver: Link | None = raw.driver_connection
    if driver is None:
        raise DatabaseAway("The database connection was lost.")
    return driver


def _is_busy(error: Exception) -> bool:
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else None
    while cause is not None and not isinstance(cause, _BUSY):
        cause = cause.__cause__
    return cause is not None
