"""`POST /detect` over HTTP with records on, two API processes: latency, rates, batches, memory, a remote engine.

Load generator, PostgreSQL, API and engine processes share the machine. The anchor is a linear model over TF-IDF behind
FastAPI (`anchors/detect_app.py`): one process that knows no keys, limits, records, policies or decoded views.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from _kit import Client, Platform, finish, free_port, http_request, platform, running
from detect_engine import text, words

from guardhouse.detections.engine_pool import PROCESS

ANCHORS = Path(__file__).parent / "anchors"
ROUNDS = 5
MIXED = (("user", 200), ("user", 200), ("user", 500), ("external", 1_500))
SEQUENTIAL, SATURATING = 300, 1_500
CONNECTIONS = 32
OFFERED, OFFERED_SECONDS = 1_000, 4
BATCHES = ((32, 900), (100, None))
MOST_MIB = 120


class Texts:
    """Texts that were never sent before."""

    def __init__(self) -> None:
        self.words, self.draw = words(), random.Random(4)

    def body(self, length: int, channel: str = "user", **more: object) -> bytes:
        """Return the body of a call."""
        found = text(self.draw, self.words, length)
        return json.dumps({"text": found, "channel": channel} | more).encode()

    def short(self) -> bytes:
        """Return the body of a call with at most 200 characters."""
        return json.dumps({"text": text(self.draw, self.words, 130)[:200]}).encode()


def asked(path: str, key: str, body: bytes) -> bytes:
    """Return a whole request."""
    return http_request("POST", path, {"x-api-key": key, "content-type": "application/json"}, body)


def share(taken: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(taken)[min(len(taken) * percent // 100, len(taken) - 1)]


async def one_by_one(port: int, requests: Sequence[bytes]) -> list[float]:
    """Send requests on one connection, one after another; return milliseconds."""
    client = await Client.open(port)
    taken = []
    for request in requests:
        begun = time.perf_counter()
        status, body = await client.send(request)
        taken.append((time.perf_counter() - begun) * 1e3)
        assert status == 200, body
    client.close()
    return taken


async def saturate(ports: Sequence[int], requests: Sequence[bytes]) -> float:
    """Send requests on 32 connections as fast as they are answered; return how many a second."""
    left = iter(requests)

    async def worker(number: int) -> None:
        client = await Client.open(ports[number % len(ports)])
        for request in left:
            status, body = await client.send(request)
            assert status == 200, body
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(CONNECTIONS)))
    return len(requests) / (time.perf_counter() - begun)


async def offer(ports: Sequence[int], requests: Sequence[bytes], rate: float) -> list[float]:
    """Send requests at a rate, whether or not earlier ones were answered; milliseconds from when each was due."""
    begun = time.perf_counter() + 0.05
    due = iter(enumerate(requests))
    taken: list[float] = []

    async def worker(number: int) -> None:
        client = await Client.open(ports[number % len(ports)])
        for place, request in due:
            moment = begun + place / rate
            if (wait := moment - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            status, body = await client.send(request)
            taken.append((time.perf_counter() - moment) * 1e3)
            assert status == 200, body
        client.close()

    await asyncio.gather(*(worker(number) for number in range(CONNECTIONS)))
    return taken


def engine_memory(made: Platform) -> float:
    """Return the most memory of its own that an engine process holds, in MiB."""
    found = [
        child.memory_full_info().uss
        for pid in made.pids
        for child in psutil.Process(pid).children(recursive=True)
        if PROCESS in child.cmdline()
    ]
    assert found, "no engine process runs"
    return max(found) / (1 << 20)


async def measure(made: Platform, anchor: int, stub: int) -> None:
    """Take every figure in turns with its anchor."""
    texts = Texts()
    ours, theirs = "/api/v1/detect", "/detect"
    for port in made.ports:  # start the engine processes
        await one_by_one(port, [asked(ours, made.key, texts.short()) for _ in range(50)])
    await one_by_one(anchor, [asked(theirs, "", texts.short()) for _ in range(50)])
    p50: list[list[float]] = [[], []]
    p99: list[list[float]] = [[], []]
    rates: list[list[float]] = [[], []]
    late: list[float] = []
    for _ in range(ROUNDS):
        bodies = [texts.body(length, channel) for channel, length in MIXED * (SEQUENTIAL // len(MIXED))]
        shorts = [texts.short() for _ in range(SATURATING)]
        for side, (ports, path) in enumerate(((made.ports, ours), ([anchor], theirs))):
            taken = await one_by_one(ports[0], [asked(path, made.key, body) for body in bodies])
            p50[side].append(statistics.median(taken))
            p99[side].append(share(taken, 99))
            rates[side].append(await saturate(ports, [asked(path, made.key, body) for body in shorts]))
        offered = [asked(ours, made.key, texts.short()) for _ in range(OFFERED * OFFERED_SECONDS)]
        late.append(share(await offer(made.ports, offered, OFFERED), 99))
    finish("detect_http_sequential_p50", p50[0], p50[1], "ms", on="ours", better="lower", must=3.0, goal=1.5)
    finish(
        "detect_http_sequential_p99", p99[0], p99[1], "ms", on="ours", better="lower", must=20.0, goal=10.0
    )
    finish("detect_http_p99_at_1000_a_second", late, [], "ms", on="ours", better="lower", must=20.0)
    await measure_batches(made, texts)
    await measure_remote(made, texts, stub)
    memory = engine_memory(made)
    finish("detect_engine_memory", [memory], [], "MiB", on="ours", better="lower", must=MOST_MIB)
    finish("detect_http_rate", rates[0], rates[1], "req/s", on="ours", must=1_000, goal=3_000)


async def measure_batches(made: Platform, texts: Texts) -> None:
    """Texts a second in batches, one batch after another, beside calls of one text."""
    if not await has_batches(made):
        print("no POST /detect/batch here yet")
        return
    for size, must in BATCHES:
        alone, together = [], []
        for _ in range(ROUNDS):
            bodies = [texts.short() for _ in range(2 * size)]
            taken = await one_by_one(made.port, [asked("/api/v1/detect", made.key, body) for body in bodies])
            alone.append(1e3 * len(taken) / sum(taken))
            items = [json.loads(body) | {"id": str(number)} for number, body in enumerate(bodies)]
            batches = [
                asked(
                    "/api/v1/detect/batch",
                    made.key,
                    json.dumps({"requests": items[start : start + size]}).encode(),
                )
                for start in (0, size)
            ]
            together.append(1e3 * 2 * size / sum(await one_by_one(made.port, batches)))
        if must is None:
            finish(f"detect_http_batch_{size}_against_single", together, alone, "texts/s", must=1.5)
        else:
            finish(f"detect_http_batch_{size}", together, alone, "texts/s", on="ours", must=must, goal=4_000)


async def has_batches(made: Platform) -> bool:
    """Tell whether this version judges batches."""
    client = await Client.open(made.port)
    status, _ = await client.send(asked("/api/v1/detect/batch", made.key, b"{}"))
    client.close()
    return status not in {404, 405}


async def measure_remote(made: Platform, texts: Texts, stub: int) -> None:
    """What we add to a remote engine: the same texts asked of it through us and of it alone."""
    client = await Client.open(made.port)
    policy = {"name": "remote", "engine": {"kind": "remote", "name": "stub"}}
    status, body = await client.send(asked("/api/v1/policies", made.key, json.dumps(policy).encode()))
    assert status == 201, body
    identifier = json.loads(body)["id"]
    client.close()
    through: list[list[float]] = [[], []]
    alone: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        bodies = [texts.body(200, policy=identifier) for _ in range(SEQUENTIAL)]
        assert await judged_by(made, bodies[0]) == "stub"
        direct = await one_by_one(stub, [asked("/v1/detect", "", body) for body in bodies])
        ours = await one_by_one(made.port, [asked("/api/v1/detect", made.key, body) for body in bodies])
        for place, percent in enumerate((50, 99)):
            alone[place].append(share(direct, percent))
            through[place].append(share(ours, percent))
    for place, (name, must, goal) in enumerate((("p50", 2.0, None), ("p99", 10.0, 4.0))):
        added = [ours - direct for ours, direct in zip(through[place], alone[place], strict=True)]
        finish(
            f"detect_remote_added_{name}",
            added,
            alone[place],
            "ms",
            on="ours",
            better="lower",
            must=must,
            goal=goal,
        )


async def judged_by(made: Platform, body: bytes) -> str:
    """Return the engine that an answer names."""
    client = await Client.open(made.port)
    _, answer = await client.send(asked("/api/v1/detect", made.key, body))
    client.close()
    engine: str = json.loads(answer)["engine"]
    return engine


def main() -> None:
    """Run the platform, the anchor and the stub of a remote engine, and measure."""
    anchor, stub = free_port(), free_port()
    remotes = json.dumps({"stub": {"url": f"http://127.0.0.1:{stub}"}})
    with (
        running([str(ANCHORS / "detect_app.py"), str(anchor)], anchor),
        running([str(ANCHORS / "go_engine.py"), str(stub)], stub),
        platform("serve", "serve", settings={"GUARDHOUSE_DETECT_REMOTES": remotes}) as made,
    ):
        asyncio.run(measure(made, anchor, stub))


if __name__ == "__main__":
    main()
