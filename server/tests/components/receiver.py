"""A receiver of requests on a real socket, which behaves as a test says: well, slowly, or badly."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(slots=True)
class Turn:
    """What a behaviour has in hands: the request, and the two sides of the connection."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, data: bytes) -> None:
        """Send bytes now."""
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[[Turn], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """The receiver: where it is and what came. ``behave`` may be changed at any time."""

    behave: Behaviour
    port: int = 0
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """Return its address."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def wait_for(self, count: int, seconds: float = 20) -> list[Received]:
        """Wait until so many requests came."""
        async with asyncio.timeout(seconds):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests

    async def serve(self: Self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side has enough."""
        self.connections += 1
        number = self.connections
        gone = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        try:
            with contextlib.suppress(*gone):
                while not writer.is_closing():
                    request = await _read_request(reader, number)
                    self.requests.append(request)
                    self._arrived.set()
                    await self.behave(Turn(request, reader, writer))
        finally:
            writer.close()
            with contextlib.suppress(*gone):
                await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body, connection)


@asynccontextmanager
async def receiving(behave: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free port of loopback for the length of a test."""
    receiver = Receiver(behave, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with contextlib.suppress(asyncio.CancelledError):  # the end of the test
            await receiver.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer each request so; underscores in header names stand for hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode()

    async def behave(turn: Turn) -> None:
        await turn.write(head + (b"" if status in {204, 304} else body))

    return behave


def raw(data: bytes, *, close: bool = True) -> Behaviour:
    """Send these bytes, and close."""

    async def behave(turn: Turn) -> None:
        await turn.write(data)
        if close:
            turn.writer.close()

    return behave


async def reset(turn: Turn) -> None:
    """Reset the connection after the request came."""
    turn.writer.transport.abort()


async def silence(turn: Turn) -> None:
    """Never answer."""
    await turn.reader.read()


def drip(first: bytes, piece: bytes, pause_seconds: float = 0.05) -> Behaviour:
    """Send a beginning, then a piece again and again, until the other side has gone."""

    async def behave(turn: Turn) -> None:
        await turn.write(first)
        while not turn.writer.is_closing():
            await turn.write(piece)
            await asyncio.sleep(pause_seconds)

    return behave


slow_headers = drip(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n")
slow_body = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x")
endless_body = drip(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2000\r\n" + b"x" * 8192 + b"\r\n", 0
)
early_hints = drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50, 0.001)
