"""Deliveries to a local sink: how many a second, how soon after the commit, and who suffers from whom.

Producer and sink share this process, the worker is its own, PostgreSQL a third; all on the same two cores.
`--quick` does a tenth. Anchors are limits, not peers: the figures to reach of the plan.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import _kit as kit
import uvloop

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.jobs import enqueue
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import tenants
from guardhouse.identity.caller import Caller
from guardhouse.identity.roles import ROLES
from guardhouse.notices.identity_kinds import KeyRevoked
from guardhouse.notices.publish import Draft, publish_all
from guardhouse.webhooks import endpoints, jobs, replay, store, wake_store
from guardhouse.webhooks.endpoints import NewEndpoint
from guardhouse.webhooks.narrow import Filter

ENDPOINTS = 20
RATE = 500
QUICK = "--quick" in sys.argv
SCALE = 10 if QUICK else 1
PATIENCE_SECONDS = 300
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Sink:
    """A receiver that answers at once, or never under `/hole`; notes when each notice first came."""

    said: dict[int, float] = field(default_factory=dict)
    came: dict[int, float] = field(default_factory=dict)
    total: int = 0
    port: int = 0

    async def wait_for(self, count: int) -> None:
        """Wait until so many deliveries came."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.total < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.total} of {count} deliveries came")
            await asyncio.sleep(0.005)

    async def wait_for_all_said(self) -> None:
        """Wait until everything said has come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while missing := len(self.said.keys() - self.came.keys()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{missing} notices did not come")
            await asyncio.sleep(0.01)

    def clear(self) -> None:
        """Forget everything."""
        self.said.clear()
        self.came.clear()
        self.total = 0

    def delays(self) -> list[float]:
        """Return milliseconds from the beginning of each commit to the first byte."""
        return [(self.came[number] - at) * 1000 for number, at in self.said.items() if number in self.came]


class Connection(asyncio.Protocol):
    """One connection of the sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.rest = b""
        self.first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class, which inherits nothing

    def data_received(self, data: bytes) -> None:
        """Read whole requests and answer them."""
        now = time.perf_counter()
        self.first = self.first if self.rest else now
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end]
            at = head.lower().index(b"content-length:") + 15
            length = int(head[at : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None])
            if len(self.rest) < end + 4 + length:
                return
            body, self.rest = self.rest[end + 4 : end + 4 + length], self.rest[end + 4 + length :]
            if not head.startswith(b"POST /hole"):
                self._count(body)
                self.transport.write(ANSWER)

    def _count(self, body: bytes) -> None:
        at = body.index(b'"name":"') + 8
        number = int(body[at : body.index(b'"', at)])
        self.sink.came.setdefault(number, self.first)
        self.sink.total += 1


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    """Run the sink."""
    made = Sink()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(made), "127.0.0.1", 0, backlog=2048
    )
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@dataclass
class Bench:
    """The tenant, its endpoints and how notices are said to one of them."""

    resources: Resources
    tenant: TenantKey
    sink: Sink
    hooks: list[UUID] = field(default_factory=list)

    async def register(self, path: str, **wanted: Any) -> UUID:
        """Register an endpoint that hears of one subject."""
        number = len(self.hooks)
        caller = Caller(self.tenant, "bench", "key", "admin", ROLES["admin"], "bench")
        settings: dict[str, Any] = {
            "url": f"http://127.0.0.1:{self.sink.port}{path}",
            "kinds": ("key.*",),
            "filter": Filter(subject_prefix=f"key:{UUID(int=number)}"),
            "timeout_ms": 30_000,
        }
        new = NewEndpoint(**settings | wanted)
        async with tenant_transaction(self.resources.database, self.tenant) as tx:
            made, _ = await endpoints.register(tx, self.resources, caller, new)
        self.hooks.append(made.id)
        return made.id

    async def say(self, numbers: Sequence[int], to: int) -> None:
        """Publish notices for one endpoint in one transaction."""
        drafts = [
            Draft(KeyRevoked(key_id=UUID(int=to), name=str(n), actor="bench"), self.tenant.id, n)
            for n in numbers
        ]
        async with tenant_transaction(self.resources.database, self.tenant) as tx:
            await publish_all(tx, drafts)
            now = time.perf_counter()  # the commit begins here
            self.sink.said.update(dict.fromkeys(numbers, now))

    async def steadily(self, seconds: float, among: Sequence[int], first: int = 0) -> list[float]:
        """Publish at the rate, one commit per notice, round robin; return the delays in milliseconds."""
        self.sink.clear()
        count = int(RATE * seconds)
        began = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for step in range(count):
            ahead = began + step / RATE - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            task = asyncio.create_task(self.say([first + step], among[step % len(among)]))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await self.sink.wait_for_all_said()
        return self.sink.delays()

    async def flood(self, count: int, among: Sequence[int], first: int, step: int = 200) -> None:
        """Publish as fast as it goes, many per transaction."""
        for at in range(first, first + count, step):
            await self.say(range(at, at + step), among[(at // step) % len(among)])


def cuts(delays: Sequence[float]) -> tuple[float, float]:
    """Return p50 and p99."""
    found = statistics.quantiles(delays, n=100)
    return found[49], found[98]


async def measure(resources: Resources) -> None:
    """Run every scene and print its line."""
    async with system_transaction(resources.database) as tx:
        tenant = (await tenants.create_tenant(tx, resources.clock, "hooks", "Hooks")).key
    async with sink() as received:
        bench = Bench(resources, tenant, received)
        for _ in range(ENDPOINTS):
            await bench.register("/in")
        everyone = range(ENDPOINTS)
        await bench.steadily(
            2, everyone
        )  # warm; a worker that begins makes partitions, each for days to come
        await asyncio.sleep(3)
        await rates(bench, everyone)
        await latency(bench, everyone)
        await black_hole(bench)
        await backlog(bench)
        await replays(bench)


async def rates(bench: Bench, everyone: Sequence[int]) -> None:
    """Deliveries a second, notices flooding in."""
    found = []
    for round_ in range(3):
        count = 20_000 // SCALE
        bench.sink.clear()
        began = time.perf_counter()
        await bench.flood(count, everyone, 1_000_000 * (round_ + 1))
        await bench.sink.wait_for(count)
        found.append(count / (time.perf_counter() - began))
        print(f"round {round_ + 1}: {found[-1]:.0f} deliveries/s")
    kit.finish("webhook_rate", found, [], "deliveries/s", must=1000, goal=5000, on="ours")


async def latency(bench: Bench, everyone: Sequence[int]) -> None:
    """Commit to first byte at 500/s."""
    p50, p99 = cuts(await bench.steadily(20 / SCALE, everyone, 5_000_000))
    print(f"500/s: p50 {p50:.1f} ms  p99 {p99:.1f} ms")
    kit.finish(
        "webhook_commit_to_first_byte_p50", [p50], [], "ms", must=100, goal=10, on="ours", better="lower"
    )
    kit.finish(
        "webhook_commit_to_first_byte_p99", [p99], [], "ms", must=1000, goal=50, on="ours", better="lower"
    )


async def black_hole(bench: Bench) -> None:
    """One of twenty never answers: what of it the others feel, in turns with one that does."""
    hole = len(bench.hooks)
    await bench.register("/hole")
    others = range(ENDPOINTS - 1)
    without, with_hole = [], []
    for round_ in range(3):
        first = 6_000_000 + round_ * 200_000
        await pause(bench, hole)
        without.append(cuts(await bench.steadily(10 / SCALE, others, first))[1])
        await pause(bench, hole, state="active")
        await bench.flood(200, [hole], 6_900_000 + round_ * 1000)
        with_hole.append(cuts(await bench.steadily(10 / SCALE, others, first + 100_000))[1])
    await pause(bench, hole)
    compare("webhook_black_hole", "with a black hole", without, with_hole)


async def backlog(bench: Bench) -> None:
    """A hundred thousand pending on one endpoint that takes one a second: what of it another feels, in turns."""
    slow = len(bench.hooks)
    await bench.register("/in", rate_per_second=1.0)
    await bench.flood(100_000 // SCALE, [slow], 7_000_000, 1000)
    await settled(bench, slow, 100_000 // SCALE)
    others = range(ENDPOINTS - 1)
    without, beside = [], []
    for round_ in range(3):
        first = 8_000_000 + round_ * 200_000
        await pause(bench, slow)
        without.append(cuts(await bench.steadily(10 / SCALE, others, first))[1])
        await pause(bench, slow, state="active")
        beside.append(cuts(await bench.steadily(10 / SCALE, others, first + 100_000))[1])
    await pause(bench, slow)
    compare("webhook_backlog", f"beside {100_000 // SCALE} pending", without, beside)


async def settled(bench: Bench, number: int, count: int) -> None:
    """Wait until an endpoint has so many deliveries."""
    there = 0
    while there < count:
        await asyncio.sleep(0.2)
        async with system_transaction(bench.resources.database) as tx:
            there = await tx.fetch_value(
                "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = $1", bench.hooks[number]
            )


async def pause(bench: Bench, number: int, state: str = "paused") -> None:
    """Stop an endpoint, or let it go on, as an edit by hand does."""
    async with system_transaction(bench.resources.database) as tx:
        await store.update_endpoint(tx, bench.hooks[number], {"state": state})
        await wake_store.notify_changed(tx, bench.hooks[number])
    await asyncio.sleep(0.2)


def compare(name: str, disturbed: str, alone: Sequence[float], beside: Sequence[float]) -> None:
    """Print what a neighbour adds to p99; a tenth of it, or 5 ms where that is more, is allowed."""
    base, other = statistics.median(alone), statistics.median(beside)
    rounds = " ".join(f"{one:.1f}/{two:.1f}" for one, two in zip(alone, beside, strict=True))
    print(f"p99 alone {base:.1f} ms, {disturbed} {other:.1f} ms (rounds alone/beside: {rounds})")
    must = max(5.0, base / 10)
    kit.finish(name, [other - base], [], "ms more at p99", must=must, goal=1, on="ours", better="lower")


async def replays(bench: Bench) -> None:
    """Replay of what one endpoint had: how many a second, and a live endpoint's p99 meanwhile."""
    count = 100_000 // SCALE
    source = len(bench.hooks)
    hook = await bench.register("/in", concurrency=64)
    bench.sink.clear()
    await bench.flood(count, [source], 9_000_000, 1000)
    await bench.sink.wait_for(count)
    async with system_transaction(bench.resources.database) as tx:
        await queue_replay(tx, bench, hook)
    bench.sink.clear()
    began = time.perf_counter()
    live = asyncio.create_task(bench.steadily(10 / SCALE, range(ENDPOINTS - 1), 9_500_000))
    await asyncio.sleep(0)
    sent = 0
    while sent < count:
        await asyncio.sleep(0.1)
        async with system_transaction(bench.resources.database) as tx:
            sent = await tx.fetch_value(
                "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = $1 AND bulk AND state = 'delivered'",
                hook,
            )
    rate = count / (time.perf_counter() - began)
    p99 = cuts(await live)[1]
    print(f"replay {rate:.0f}/s, live p99 meanwhile {p99:.1f} ms")
    kit.finish("webhook_replay", [rate], [], "deliveries/s", must=1000, on="ours")
    kit.finish("webhook_replay_live_p99", [p99], [], "ms", must=1000, on="ours", better="lower")


async def queue_replay(tx: Tx, bench: Bench, hook: UUID) -> None:
    """Begin a replay of everything an endpoint had."""
    now = bench.resources.clock.now()
    (endpoint,) = await store.load_endpoints(tx, [hook])
    caller = Caller(bench.tenant, "bench", "key", "admin", ROLES["admin"], "bench")
    made = await replay.begin(
        tx, bench.resources, caller, endpoint, replay.Asked("range", now - timedelta(hours=1), now)
    )
    await enqueue(tx, jobs.run_replay, jobs.ReplayWork(made.id, made.since), tenant=bench.tenant)


async def run(made: kit.Platform) -> None:
    """Measure over a running worker."""
    async with made.resources() as resources:
        await measure(resources)


def main() -> int:
    """Print a line per figure."""
    os.environ["GUARDHOUSE_EGRESS_ALLOW"] = "127.0.0.1/32:*"
    uvloop.install()
    with kit.platform("work") as made:
        asyncio.run(run(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
