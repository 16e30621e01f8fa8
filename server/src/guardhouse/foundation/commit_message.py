"""The driver's connection, whose COMMIT takes last statements along in one message.

They are the transaction's own: they commit with it, and their failure rolls all of it back.
"""

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

if TYPE_CHECKING:  # generic for the type checker alone
    _Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

_COMMIT: Final = "COMMIT;"
_ROLLBACK: Final = "ROLLBACK;"


class Link(_Connection):
    """A connection of asyncpg; its transactions end by ``execute`` with a fixed text, which is where this steps in."""

    __slots__ = ("_last",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last: list[str] = []

    def take_along(self, sql: str) -> None:
        """Keep a statement, with its values in it, for the end of the transaction."""
        self._last.append(sql)

    @property
    def waits(self) -> bool:
        """Whether something is kept that has not been sent."""
        return bool(self._last)

    async def settle(self) -> None:
        """Send what is kept now."""
        if self._last:
            await super().execute(";".join(self._taken()))

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's own signature
        """Run a statement; COMMIT takes along what was kept, ROLLBACK drops it."""
        if not self._last or query not in {_COMMIT, _ROLLBACK}:
            return await super().execute(query, *args, timeout=timeout)
        last = self._taken()
        if query == _ROLLBACK:
            return await super().execute(query, timeout=timeout)
        try:
            return await super().execute(";".join([*last, query]), timeout=timeout)
        except Exception:
            # A COMMIT that fails ends the transaction; this one may not have been reached.
            if not self.is_closed() and self.is_in_transaction():
                await super().execute(_ROLLBACK)
            raise

    def _taken(self) -> list[str]:
        last, self._last = self._last, []
        return last
