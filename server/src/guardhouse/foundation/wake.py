"""Wake-ups: one LISTEN connection per process turns NOTIFY into an in-process signal.

A wake-up is a hint and may be lost; every reader polls behind it. Payloads carry an id at most.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import asyncpg

from guardhouse.foundation.pause import set_within

RECONNECT_SECONDS: Final = 1.0
KEEPALIVE_SECONDS: Final = 15.0

Listener = Callable[[str], None]


class Wake:
    """Channels of this process. ``subscribe`` is cheap; the connection is made at the first one.

    ``connected`` tells whether NOTIFY reaches this process now; caches shorten their lives while it does not.
    """

    def __init__(self, driver_url: str) -> None:
        self._url = driver_url
        self._listeners: dict[str, set[Listener]] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lost = asyncio.Event()
        self.connected = False

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener(payload)`` for each NOTIFY on the channel; returns how to end it."""
        fresh = channel not in self._listeners
        self._listeners.setdefault(channel, set()).add(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wake")
        elif fresh:
            self._lost.set()  # reconnect, now listening to this channel too
        return lambda: self._listeners.get(channel, set()).discard(listener)

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._lost = asyncio.Event()  # each connection has its own: the end of one must not end the next
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(RECONNECT_SECONDS)
            finally:
                self.connected = False
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None

    async def _listen(self) -> None:
        self._connection = await asyncpg.connect(
            self._url, timeout=5, server_settings={"application_name": "guardhouse-wake"}
        )
        lost = self._lost
        self._connection.add_termination_listener(lambda _connection: lost.set())
        for channel in sorted(self._listeners):
            await self._connection.add_listener(channel, self._receive)
        self.connected = True
        for channel in self._listeners:
            self._deliver(channel, "")  # whatever was sent while nobody listened
        while not lost.is_set():
            if not await set_within(lost, KEEPALIVE_SECONDS):
                await self._connection.execute("SELECT 1", timeout=5)

    def _receive(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._deliver(channel, str(payload))

    def _deliver(self, channel: str, payload: str) -> None:
        for listener in tuple(self._listeners.get(channel, ())):
            listener(payload)
