"""The statements that one request runs, as the driver sees them; what runs beside it is not among them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from asyncpg.connection import LoggedQuery
from sqlalchemy import event

from guardhouse.foundation.database import Database

Result = TypeVar("Result")
_heard: ContextVar[list[str] | None] = ContextVar("statements", default=None)


@contextmanager
def heard(database: Database) -> Iterator[None]:
    """Listen to every connection of the pool for the length of the block; :func:`run_by` tells what was heard."""
    engine = database.engine.sync_engine

    def checked_out(connection: Any, *_: object) -> None:
        connection.driver_connection.add_query_logger(_note_plain)

    def executes(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        _note(statement)

    event.listen(engine.pool, "checkout", checked_out)
    event.listen(engine, "before_cursor_execute", executes)
    try:
        yield
    finally:
        event.remove(engine.pool, "checkout", checked_out)
        event.remove(engine, "before_cursor_execute", executes)


async def run_by(call: Callable[[], Awaitable[Result]]) -> tuple[Result, list[str]]:
    """Return what a call returns, and the texts of the statements run in its own context."""
    statements: list[str] = []
    token = _heard.set(statements)
    try:
        result = await call()
        await asyncio.sleep(0)  # the driver tells in the next turn of the loop
        await asyncio.sleep(0)
    finally:
        _heard.reset(token)
    return result, statements


def _note_plain(query: LoggedQuery) -> None:
    _note(query.query)


def _note(statement: str) -> None:
    statements = _heard.get()
    if statements is not None:
        statements.append(statement)
