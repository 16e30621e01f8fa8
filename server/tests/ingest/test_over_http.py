"""The door behind a real HTTP server: large bodies, 100-continue, refusals before the body, bombs, slowness."""

import asyncio
import contextlib
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import uvicorn

from guardhouse.http.app import create_app
from guardhouse.ingest import routes
from guardhouse.ingest.read_body import IN_FLIGHT, Limits
from server.tests.ingest.make import Door, batch


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection to the door, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def head(self, key: str | None, *lines: str) -> None:
        """Send the head of a request."""
        sent = [
            "POST /api/v1/events HTTP/1.1",
            "Host: guard.example",
            "Content-Type: application/json",
            *lines,
        ]
        if key is not None:
            sent.append(f"X-API-Key: {key}")
        self.writer.write(("\r\n".join(sent) + "\r\n\r\n").encode())

    async def answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """Read status, headers and JSON body of an answer."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = text.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, json.loads(body) if body else {}


@pytest_asyncio.fixture
async def port(door: Door) -> AsyncIterator[int]:
    """Where a real server answers."""
    config = uvicorn.Config(create_app(door.resources), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def connect(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_ten_thousand_events_in_one_plain_body(door: Door, port: int) -> None:
    events = [door.event(idempotency_key=str(n), reason="x" * 300) for n in range(10_000)]
    body = json.dumps(batch(events)).encode()
    assert len(body) > 4 << 20
    async with connect(port) as wire:
        for expected in (10_000, 0):
            wire.head(door.key, f"Content-Length: {len(body)}")
            wire.writer.write(body)
            status, _, said = await wire.answer()
            assert (status, said["accepted"]) == (200, expected)
    assert await door.count("events") == 10_000


async def test_a_client_that_waits_for_100_is_judged_first(door: Door, port: int) -> None:
    body = gzip.compress(json.dumps(batch([door.event()])).encode())
    said = ("Expect: 100-continue", "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    async with connect(port) as wire:
        wire.head(None, *said)
        status, headers, problem = await wire.answer()
        assert (status, problem["code"]) == (401, "api_key_missing")
        assert "www-authenticate" in headers
    async with connect(port) as wire:
        wire.head(door.key, *said)
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        wire.writer.write(body)
        status, _, answer = await wire.answer()
        assert (status, answer["accepted"]) == (200, 1)


async def test_a_bomb_is_refused_while_it_is_sent_and_the_connection_closed(door: Door, port: int) -> None:
    packer = zlib.compressobj(9, wbits=31)
    async with connect(port) as wire:
        wire.head(door.key, "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        started = time.perf_counter()
        for _ in range(64):
            piece = packer.compress(bytes(1 << 20))
            if piece:
                wire.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        status, headers, problem = await wire.answer()
        assert (status, problem["code"]) == (413, "compression_bomb")
        assert headers["connection"] == "close"
        assert time.perf_counter() - started < 5
        assert await wire.reader.read() == b""
    assert IN_FLIGHT.held == 0


async def test_a_body_that_stops_is_a_timeout_and_nothing_is_stored(
    door: Door, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LIMITS", Limits(silence_seconds=0.2))
    async with connect(port) as wire:
        wire.head(door.key, "Content-Length: 100")
        wire.writer.write(b'{"events":[')
        status, headers, problem = await wire.answer()
        assert (status, problem["code"]) == (408, "request_timeout")
        assert headers["connection"] == "close"
    assert await door.count("telemetry_receipts") == 0
    assert IN_FLIGHT.held == 0


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(door: Door, port: int) -> None:
    async with connect(port) as wire:
        wire.head(door.key, "Content-Length: 100000")
        wire.writer.write(json.dumps(batch([door.event()])).encode())
        await wire.writer.drain()
    for _ in range(50):
        if IN_FLIGHT.held == 0:
            break
        await asyncio.sleep(0.02)
    assert IN_FLIGHT.held == 0
    for table in ("events", "telemetry_receipts", "quarantine"):
        assert await door.count(table) == 0
