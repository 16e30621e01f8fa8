"""Wake-ups: one LISTEN connection per process turns NOTIFY into an in-process signal.

A wake-up is a hint and may be lost; every reader polls behind it. Payloads carry an id at most.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import asyncpg

from guardhouse.foundation import logs
from guardhouse.foundation.pause import set_within

RECONNECT_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 1.0

Listener = Callable[[str], None]
_log = logs.get(__name__)


class Wake:
    """Channels of this process. ``subscribe`` is cheap; the connection is made at the first one.

    ``connected`` tells whether NOTIFY reaches this process now; caches shorten their lives while it does not.
    """

    def __init__(self, driver_url: str) -> None:
        self._url = driver_url
        self._listeners: dict[str, set[Listener]] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()  # a new channel, or the connection has ended
        self._answered = float("-inf")

    @property
    def connected(self) -> bool:
        """Whether the listening connection answered within the last second: a cut cable says nothing."""
        return time.monotonic() - self._answered < SILENT_SECONDS

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener(payload)`` for each NOTIFY on the channel; returns how to end it."""
        self._listeners.setdefault(channel, set()).add(listener)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wake")
        return lambda: self._listeners[channel].discard(listener)

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._connect()
            except Exception as error:  # noqa: BLE001 - a hint may be lost, but not the task that brings them
                _log.warning("wake_lost", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect(self) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=5, server_settings={"application_name": "guardhouse-wake"}
        )
        try:
            connection.add_termination_listener(lambda _connection: self._changed.set())
            await self._listen(connection)
        finally:
            self._answered = float("-inf")
            connection.terminate()

    async def _listen(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        heard: set[str] = set()
        while not connection.is_closed():
            self._changed.clear()
            for channel in sorted(self._listeners.keys() - heard):
                await connection.add_listener(channel, self._receive)
                heard.add(channel)
                self._deliver(channel, "")  # whatever was sent while nobody listened
            await connection.execute("SELECT 1", timeout=5)
            self._answered = time.monotonic()
            await set_within(self._changed, PROBE_SECONDS)

    def _receive(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._deliver(channel, str(payload))

    def _deliver(self, channel: str, payload: str) -> None:
        for listener in tuple(self._listeners[channel]):
            listener(payload)
