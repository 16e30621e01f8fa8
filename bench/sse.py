"""From commit to 1,000 listening clients: p50 and p99 of our event stream, and its memory per client.

The anchor is the least that could be done: a bare asyncio server that writes the same bytes to as many TCP
connections, told over a socket, without a database, HTTP or filters. Rounds are interleaved, medians count.
Clients, publisher and PostgreSQL share the machine with both servers. Must: p99 < 100 ms; goal: 40 ms.
"""

import asyncio
import base64
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import cast

import _scratch as scratch
import psutil
import uvicorn
import uvloop
from pydantic import SecretStr

from guardhouse.foundation import migrate
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.http.app import create_app
from guardhouse.identity import keys, tenants
from guardhouse.identity.keys import NewKey
from guardhouse.notices.publish import publish
from guardhouse.notices.risk_kinds import RiskBandCrossed
from guardhouse.settings import Settings

CLIENTS = 1000
ROUNDS = 3
NOTICES = 50
PAUSE_SECONDS = 0.2
MUST_MS, GOAL_MS = 100.0, 40.0
_SEQUENCE = re.compile(rb'"subject_seq":(\d+),')


def settings(url: str) -> Settings:
    """Return settings that reach the bench's database."""
    secret = base64.urlsafe_b64encode(bytes(32)).decode()
    return Settings(
        database_url=SecretStr(url),
        master_key=SecretStr(secret),
        key_peppers=SecretStr(f"bench:{secret}"),
        data_dir=Path(tempfile.gettempdir()),
        log_level="error",
    )


# The two servers, each a process of its own.


async def serve_ours(url: str, port: int) -> None:
    """Serve the API."""
    async with open_resources(settings(url)) as resources:
        config = uvicorn.Config(create_app(resources), port=port, log_config=None, access_log=False)
        await uvicorn.Server(config).serve()


async def serve_bare(port: int) -> None:
    """Write whatever the control connection (the next port) says to every other connection."""
    listening: set[asyncio.Transport] = set()

    class Listener(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            writable = cast("asyncio.Transport", transport)  # uvloop's own class, which inherits nothing
            self.mine = writable
            listening.add(writable)
            writable.write(b"event: connected\n\n")

        def connection_lost(self, _error: Exception | None) -> None:
            listening.discard(self.mine)

    class Control(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            for transport in tuple(listening):
                transport.write(data)

    loop = asyncio.get_running_loop()
    listeners = await loop.create_server(Listener, "127.0.0.1", port, backlog=2048)
    control = await loop.create_server(Control, "127.0.0.1", port + 1)
    await asyncio.gather(listeners.serve_forever(), control.serve_forever())


# The listeners, all in this process.


class Ear(asyncio.Protocol):
    """One client: notes when each notice came."""

    def __init__(self, hall: "Hall") -> None:
        self.hall = hall
        self.rest = b""
        self.connected = False

    def data_received(self, data: bytes) -> None:
        """Look for the numbers of notices in what came."""
        now = time.perf_counter()
        if not self.connected:
            self.connected = b"event: connected" in data
            self.hall.count_connected(self.connected)
        for number in _SEQUENCE.findall(self.rest + data):
            self.hall.hear(int(number), now)
        self.rest = data[-24:] if not data.endswith(b"\n") else b""


class Hall:
    """All clients of one server."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.said: dict[int, float] = {}
        self.delays: list[float] = []
        self.all_connected = asyncio.Event()
        self.all_heard = asyncio.Event()
        self._connected = 0

    def count_connected(self, connected: bool) -> None:  # noqa: FBT001 - a count of ones and zeros
        """Count a client in."""
        self._connected += connected
        if self._connected == self.clients:
            self.all_connected.set()

    def hear(self, number: int, now: float) -> None:
        """Note one notice at one client."""
        self.delays.append((now - self.said[number]) * 1000)
        if len(self.delays) == self.clients * len(self.said):
            self.all_heard.set()

    async def round(self, say: Callable[[int], Awaitable[float]], first: int) -> list[float]:
        """Say so many things, one after the other; return every delay in milliseconds."""
        self.delays.clear()
        self.said.clear()
        for number in range(first, first + NOTICES):
            self.all_heard.clear()
            self.said[number] = time.perf_counter()
            await say(number)
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.wait_for(self.all_heard.wait(), 30)
        return list(self.delays)


async def connect(port: int, request: bytes) -> Hall:
    """Open all connections to one server and wait until each is greeted."""
    hall = Hall(CLIENTS)
    loop = asyncio.get_running_loop()
    for number in range(CLIENTS):
        transport, _ = await loop.create_connection(lambda: Ear(hall), "127.0.0.1", port)
        transport.write(request)
        if number % 50 == 0:
            await asyncio.sleep(0.05)
    await asyncio.wait_for(hall.all_connected.wait(), 60)
    return hall


# The run.


def free_ports() -> int:
    """Return a port that is free and whose successor is free."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@asynccontextmanager
async def program(*arguments: str, port: int) -> AsyncIterator[psutil.Process]:
    """Run this file as a server until the end of the block."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, str(port))
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


async def prepare(resources: Resources) -> tuple[TenantKey, str]:
    """Make a tenant with a key."""
    async with system_transaction(resources.database) as tx:
        tenant = await tenants.create_tenant(tx, resources.clock, "bench", "Bench")
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, NewKey("bench"), created_by="bench"
        )
    return tenant.key, text


async def measure(url: str) -> tuple[list[list[float]], list[list[float]], float]:
    """Return the delays of each round, ours and the anchor's, and KiB per client of our server."""
    port, bare_port = free_ports(), free_ports()
    ours, anchor = list[list[float]](), list[list[float]]()
    async with (
        open_resources(settings(url)) as resources,
        program("ours", url, port=port) as process,
        program("bare", port=bare_port),
    ):
        tenant, key = await prepare(resources)
        request = f"GET /api/v1/stream HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode()
        notice = RiskBandCrossed.model_validate(RiskBandCrossed.example)
        _, control = await asyncio.open_connection("127.0.0.1", bare_port + 1)

        async def say_ours(number: int) -> float:
            async with tenant_transaction(resources.database, tenant) as tx:
                await publish(tx, notice, tenant_id=tenant.id, subject_seq=number)
                hall.said[number] = time.perf_counter()  # the commit begins here
            return 0

        async def say_bare(number: int) -> float:
            body = notice.model_dump_json()
            control.write(f'id: 1.1.1\nevent: x\ndata: {{"subject_seq":{number},"data":{body}}}\n\n'.encode())
            await control.drain()
            return 0

        before = process.memory_info().rss
        hall = await connect(port, request)
        await hall.round(say_ours, 0)  # warm
        per_client = (process.memory_info().rss - before) / CLIENTS / 1024
        bare_hall = await connect(bare_port, b"\n")
        for number in range(1, ROUNDS + 1):
            ours.append(await hall.round(say_ours, number * NOTICES))
            anchor.append(await bare_hall.round(say_bare, number * NOTICES))
    return ours, anchor, per_client


def percentiles(delays: list[float]) -> tuple[float, float]:
    """Return p50 and p99."""
    cuts = quantiles(delays, n=100)
    return cuts[49], cuts[98]


def main() -> int:
    """Print the rounds and one JSON line; 1 when the must is missed."""
    with scratch.server() as server_url, scratch.database(server_url) as url:
        migrate.upgrade(url)
        ours, anchor, per_client = asyncio.run(measure(url))
    rows = [(*percentiles(a), *percentiles(b)) for a, b in zip(ours, anchor, strict=True)]
    for number, row in enumerate(rows, start=1):
        shown = [f"{value:.1f}" for value in row]
        print(
            f"round {number}: ours p50 {shown[0]} p99 {shown[1]} ms  bare TCP p50 {shown[2]} p99 {shown[3]} ms"
        )
    p50, p99, bare_p50, bare_p99 = (median(row[column] for row in rows) for column in range(4))
    print(f"median of {CLIENTS} clients: p50 {p50:.1f}  p99 {p99:.1f} ms; bare p50 {bare_p50:.1f}  p99 "
          f"{bare_p99:.1f} ms; {per_client:.1f} KiB per client")  # fmt: skip
    ok = p99 < MUST_MS
    print(json.dumps({"bench": "sse", "ours": round(p99, 1), "anchor": round(bare_p99, 1),
                      "ratio": round(p99 / bare_p99, 2), "unit": "ms p99", "must": MUST_MS, "goal": GOAL_MS,
                      "ok": ok, "p50": round(p50, 1), "kib_per_client": round(per_client, 1)}))  # fmt: skip
    return 0 if ok else 1


if __name__ == "__main__":
    uvloop.install()
    if sys.argv[1:2] == ["ours"]:
        asyncio.run(serve_ours(sys.argv[2], int(sys.argv[3])))
    elif sys.argv[1:2] == ["bare"]:
        asyncio.run(serve_bare(int(sys.argv[2])))
    else:
        sys.exit(main())
