"""The database: engine, pool, the metadata every store adds its tables to, and Tx, the open transaction.

A Tx is made in ``foundation.transaction`` alone, at an edge; stores only use it.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Executable, MetaData
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from guardhouse.foundation.commit_message import Link
from guardhouse.foundation.errors import Unavailable

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


class DatabaseAway(Unavailable):
    """PostgreSQL cannot be reached, refuses, or lost the connection; nothing of the request was stored."""


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant as the database knows it: its public id and its compact number for telemetry rows."""

    id: UUID
    no: int


@dataclass(frozen=True, slots=True)
class Database:
    """The pool. ``single_role`` says that roles and row-level security are off (one wall instead of two)."""

    engine: AsyncEngine
    url: str = field(repr=False)
    single_role: bool

    @property
    def driver_url(self) -> str:
        """The same address for asyncpg itself (LISTEN connections)."""
        return self.url.replace("postgresql+asyncpg://", "postgresql://", 1)

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.engine.dispose()


class Tx:
    """An open transaction. ``execute`` takes SQLAlchemy statements; the rest is plain SQL with ``$1`` places."""

    __slots__ = ("_driver", "connection", "tenant")

    def __init__(self, connection: AsyncConnection, driver: Link, tenant: TenantKey | None) -> None:
        self.connection = connection
        self.tenant: TenantKey | None = tenant
        self._driver = driver

    @asynccontextmanager
    async def inside(self, tenant: TenantKey) -> AsyncIterator[None]:
        """Act for another tenant until the end of the block, behind that tenant's wall.

        A system transaction sees every tenant as it is; nothing changes for it.
        """
        own = self.tenant
        if own is None or own == tenant:
            yield
            return
        await self._name(tenant)
        try:
            yield
        finally:
            with suppress(asyncpg.InFailedSQLTransactionError):  # it is going to be rolled back
                await self._name(own)

    async def _name(self, tenant: TenantKey) -> None:
        await self.settle()  # what waits was said behind the wall that still stands
        await self._driver.execute(
            "SELECT set_config('guardhouse.tenant', $1, true), set_config('guardhouse.tenant_no', $2, true)",
            str(tenant.id),
            str(tenant.no),
        )
        self.tenant = tenant

    async def execute(self, statement: Executable, values: Any = None) -> CursorResult[Any]:
        """Run one SQLAlchemy Core statement."""
        return await self.connection.execute(statement, values)

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run one plain statement and return its rows."""
        return await self._driver.fetch(sql, *args)

    async def fetch_row(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Run one plain statement and return its first row, or None."""
        return await self._driver.fetchrow(sql, *args)

    async def fetch_value(self, sql: str, *args: object) -> Any:
        """Run one plain statement and return the first column of its first row, or None."""
        return await self._driver.fetchval(sql, *args)

    async def run(self, sql: str, *args: object) -> str:
        """Run one plain statement for its effect and return PostgreSQL's command tag."""
        return await self._driver.execute(sql, *args)

    def run_last(self, sql: str) -> None:
        """Run a statement after all others, in one message with COMMIT; values stand in it as ``sql_literal``.

        It costs no round trip, and locks it takes are held for the commit alone. Its failure fails the commit.
        """
        self._driver.take_along(sql)

    async def settle(self) -> None:
        """Run now what waits for COMMIT, for who has to see its effect within the transaction."""
        await self._driver.settle()

    async def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one plain statement once per row of arguments, pipelined."""
        await self._driver.executemany(sql, rows)

    async def delete_before(self, table: str, column: str, before: datetime, limit: int) -> int:
        """Delete rows of before an instant, at most ``limit``; returns how many. Names are the caller's own."""
        tag = await self._driver.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 - names of our own tables
            f"SELECT ctid FROM {table} WHERE {column} < $1 LIMIT $2))",
            before,
            limit,
        )
        return int(tag.rpartition(" ")[2])

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """COPY rows into a table, binary. A unique violation breaks the transaction back to its savepoint."""
        await self._driver.copy_records_to_table(table, columns=list(columns), records=rows)


def open_database(
    url: str, *, single_role: bool, pool_size: int, settings: Mapping[str, str] | None = None
) -> Database:
    """Return the pool for a ``postgresql://`` URL; connects lazily."""
    address = normal_url(url)
    engine = create_async_engine(
        address,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        hide_parameters=True,  # values stay out of error messages, which are logged
        connect_args={
            "connection_class": Link,
            "timeout": 5,
            "command_timeout": 60,
            "server_settings": {
                "application_name": "guardhouse",
                "timezone": "UTC",
                "jit": "off",
                "statement_timeout": "30000",
                # A forgotten transaction would hold every notice reader back (api-webhooks-identity §6).
                "idle_in_transaction_session_timeout": "10000",
                **(settings or {}),
            },
        },
    )
    return Database(engine=engine, url=address, single_role=single_role)


def normal_url(url: str) -> str:
    """Return the URL with the asyncpg driver named, whatever ``postgres…`` scheme it came with."""
    for scheme in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+asyncpg://" + url.removeprefix(scheme)
    raise ValueError("a database URL starts with postgresql://")
