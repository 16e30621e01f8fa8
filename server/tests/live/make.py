"""A served API with its stream, and a listener that reads it as a browser would."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from guardhouse.foundation.resources import Resources
from guardhouse.http.app import create_app
from guardhouse.live.hub import Hub

PATIENCE_SECONDS = 30.0
URL = "/api/v1/stream"


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    hub: Hub

    def client(self, key: str | None) -> httpx.AsyncClient:
        """Return a client that sends a key."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"X-API-Key": key} if key else {},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )


@asynccontextmanager
async def serving(resources: Resources) -> AsyncIterator[Served]:
    """Serve the API on loopback for the length of the block."""
    app = create_app(resources)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:
                await asyncio.sleep(0.01)
        try:
            yield Served(listener.getsockname()[1], app.state.hub)
        finally:
            resources.drain.set()
            server.should_exit = True
            await running


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals to pytest."""
        yield


@dataclass
class Event:
    """One event as the standard parses it."""

    name: str = ""
    data: Any = None
    id: str | None = None
    retry: int | None = None


@dataclass
class Stream:
    """An open stream; ``last_id`` is what a browser would send when it comes back."""

    response: httpx.Response
    lines: AsyncIterator[str] = field(init=False)
    last_id: str = ""

    def __post_init__(self) -> None:
        self.lines = self.response.aiter_lines()

    async def next(self) -> Event | None:
        """Return the next event that has a name, or None at the end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = Event()
            async for line in self.lines:
                name, _, value = line.partition(": ")
                match name:
                    case "":
                        if found.name:
                            return found
                    case "id":
                        found.id = self.last_id = value
                    case "event":
                        found.name = value
                    case "retry":
                        found.retry = int(value)
                    case "data":
                        found.data = json.loads(value)
        return None

    async def notices(self, n: int) -> list[Any]:
        """Return the data of the next n notices, heartbeats passed over."""
        found: list[Any] = []
        while len(found) < n:
            event = await self.next()
            assert event is not None, f"the stream ended after {len(found)} of {n}"
            if "." in event.name:
                found.append(event.data)
        return found

    async def rest(self) -> list[Event]:
        """Return everything until the end of the stream."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def streaming(
    served: Served, key: str | None, *, last_id: str | None = None, **query: str
) -> AsyncIterator[Stream]:
    """Open a stream and take its first event; a refusal fails the test."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with (
        served.client(key) as client,
        client.stream("GET", URL, params=query, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        stream = Stream(response)
        first = await stream.next()
        assert first is not None
        assert (first.name, first.data["last_id"], first.retry) == ("connected", first.id, 2000)
        yield stream
