"""The whole path of process risk: `POST /events` through scoring on one server, one worker and one database.

Sustained (`events`, `calls`): senders go on as fast as the platform takes batches and wait while more than `LAG`
events are not scored yet, so that what is measured can be held; nothing may be lost and the lag must not grow.
`answer`: a batch of 1,000 every 100 ms, the time until its 207 and from there until its scores can be read.
`replay`: one process of 100,000 events computed anew. No anchor of others' exists; bounds are the plan's. Usage:
`python bench/risk_path.py [--seconds 60] [events] [calls] [answer] [replay]`.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import zstandard
from _kit import Client, Platform, finish, http_request, platform

WARM_SECONDS = 5.0
BATCH = 1000
CONNECTIONS = 4
LAG = 40_000
SAMPLE_SECONDS = 0.5
SETTLE_SECONDS = 60.0
PACE_SECONDS = 0.1
BURST = 64
BURSTS = 200
REPLAYED = 100_000
CALLS = ("openat", "read", "write", "close", "mmap", "fstat", "connect", "sendto")
_WAITING = (
    "SELECT coalesce(sum(c.position), 0)::bigint AS scored, coalesce(sum(a.next_position - 1), 0)::bigint AS stored"
    " FROM host_agents a LEFT JOIN score_cursors c USING (agent_no)"
)


class Load(NamedTuple):
    """What the senders of one measurement send: events as JSON with places to fill in, and calls per event."""

    name: str
    events: list[str]
    per_batch: int
    calls: int


async def _sustained(made: Platform, watcher: asyncpg.Connection, load: Load, seconds: float) -> float:
    """Return the calls per second that were scored, 0 when the lag grew or something was lost."""
    stop, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()
    clients = [await Client.open(made.port) for _ in range(CONNECTIONS)]
    stream = f"{load.name}-{secrets.token_hex(4)}"
    before = await _counts(watcher)
    senders = [
        asyncio.create_task(
            Sender(made, client, f"{stream}-{n}", load.events[n], load.per_batch).go(stop, go_on)
        )
        for n, client in enumerate(clients)
    ]
    samples: list[tuple[float, int, int]] = []
    begun = time.perf_counter()
    try:
        while time.perf_counter() - begun < WARM_SECONDS + seconds:
            scored, stored = await _counts(watcher)
            now = time.perf_counter()
            if now - begun >= WARM_SECONDS:
                samples.append((now, scored, stored))
            if (stored - scored) * load.calls > LAG:
                go_on.clear()
            else:
                go_on.set()
            for sender in senders:
                if sender.done():
                    sender.result()
            await asyncio.sleep(SAMPLE_SECONDS)
    finally:
        stop.set()
        go_on.set()
        sent = sum(await asyncio.gather(*senders))
        for client in clients:
            client.close()
    lost = sent - (await _settled(watcher) - before[1])
    return _rate(load, samples, lost)


def _rate(load: Load, samples: list[tuple[float, int, int]], lost: int) -> float:
    begun, ended = samples[0], samples[-1]
    rate = (ended[1] - begun[1]) * load.calls / (ended[0] - begun[0])
    lags = [(stored - scored) * load.calls for _, scored, stored in samples]
    half = len(lags) // 2
    first, second = max(lags[:half]), max(lags[half:])
    grows = second > max(first, LAG) * 1.25
    print(f"{load.name}: scored {rate:,.0f} calls/s over {ended[0] - begun[0]:.0f} s, {lost} events lost")
    verdict = "it GROWS" if grows else "it does not grow"
    print(
        f"  lag: at most {first:,} calls in the first half, {second:,} in the second; {verdict}", flush=True
    )
    return 0.0 if grows or lost else rate


async def _counts(watcher: asyncpg.Connection) -> tuple[int, int]:
    """Return how many events are scored, how many stored."""
    row = await watcher.fetchrow(_WAITING)
    if row is None:
        raise RuntimeError("an aggregate has a row")
    return row["scored"], row["stored"]


async def _settled(watcher: asyncpg.Connection) -> int:
    """Wait until all that is stored is scored; return how many events that are, by the rows themselves."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        scored, stored = await _counts(watcher)
        if scored == stored:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"{stored - scored} events are still not scored")
        await asyncio.sleep(SAMPLE_SECONDS)
    rows: int = await watcher.fetchval("SELECT count(*) FROM process_events")
    if rows != stored:
        raise RuntimeError(f"{stored} positions were given, {rows} events are stored")
    return stored


class Sender(NamedTuple):
    """One connection that sends as one agent."""

    made: Platform
    client: Client
    stream: str
    events: str
    per_batch: int

    async def post(self, number: int) -> int:
        """Send one batch; return its last position."""
        status, body = await self.client.send(_request(self.made, self.stream, self.events, number))
        answer = json.loads(body)
        if status != 207 or answer["accepted"] != self.per_batch:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        position: int = answer["position"]
        return position

    async def go(self, stop: asyncio.Event, go_on: asyncio.Event) -> int:
        """Send batches until told to stop; return how many events were accepted."""
        number = 0
        while not stop.is_set():
            await go_on.wait()
            await self.post(number)
            number += 1
        return number * self.per_batch


async def _answers(made: Platform, watcher: asyncpg.Connection, seconds: float) -> None:
    """Print the time to a 207 of 1,000 events, and from it until scoring has committed them."""
    load = _singles()
    client = await Client.open(made.port)
    sender = Sender(made, client, f"answer-{secrets.token_hex(4)}", load.events[0], load.per_batch)
    reached: dict[int, float] = {}

    def note(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        reached[int(str(payload).partition(":")[2])] = time.perf_counter()

    await watcher.add_listener("scored", note)
    answered: list[tuple[float, float, int]] = []  # (seconds to the 207, when it came, its last position)
    begun = time.perf_counter()
    number = 0
    while time.perf_counter() - begun < WARM_SECONDS + seconds:
        at = time.perf_counter()
        position = await sender.post(number)
        now = time.perf_counter()
        number += 1
        if at - begun >= WARM_SECONDS:
            answered.append((now - at, now, position))
        await asyncio.sleep(max(0.0, begun + number * PACE_SECONDS - time.perf_counter()))
    client.close()
    await _settled(watcher)
    await asyncio.sleep(SAMPLE_SECONDS)  # the last notices
    await watcher.remove_listener("scored", note)
    steps = sorted(reached.items())
    waits = [max(0.0, next(when for place, when in steps if place >= p) - came) for _, came, p in answered]
    for name, values, bounds in (
        ("207", [spent for spent, _, _ in answered], ((25, 10), (150, 60))),
        ("score", waits, ((100, 30), (1000, 250))),
    ):
        cuts = statistics.quantiles(values, n=100)
        print(f"{name}: p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms of {len(values)}")
        for which, (must, goal) in zip((50, 99), bounds, strict=True):
            figure = f"risk_path_{name}_p{which}"
            bounded: dict[str, Any] = {"must": must, "goal": goal, "on": "ours", "better": "lower"}
            finish(figure, [cuts[which - 1] * 1000], [], "ms", **bounded)


async def _replay(made: Platform, watcher: asyncpg.Connection) -> None:
    """Print how long it takes to compute one process of 100,000 events anew, over the API."""
    events = _events([_call(i, 0, pid=4711) for i in range(BATCH)])
    client = await Client.open(made.port)
    stream = f"replay-{secrets.token_hex(4)}"
    sender = Sender(made, client, stream, events, BATCH)
    for number in range(REPLAYED // BATCH):
        await sender.post(number)
    client.close()
    await _settled(watcher)
    client = await Client.open(made.port)  # the server has ended an idle connection meanwhile
    body = json.dumps({"process_id": f"host-{stream}:4711"}).encode()
    spent = []
    for turn in range(3):
        headers = {
            "x-api-key": made.key,
            "content-type": "application/json",
            "idempotency-key": f"{stream}-{turn}",
        }
        begun = time.perf_counter()
        status, answer = await client.send(http_request("POST", "/api/v1/scores:recalculate", headers, body))
        spent.append(time.perf_counter() - begun)
        told = json.loads(answer).get("recalculation")
        if status != 200 or not told["equal"] or told["events"] != REPLAYED:
            raise RuntimeError(f"{status}: {answer[:300]!r}")
    client.close()
    finish("risk_replay", spent, [], "s", must=2.0, goal=0.7, on="ours", better="lower")


def _call(i: int, n: int, pid: int | None = None) -> dict[str, Any]:
    """One call of a batch, with an argument in all that have one."""
    process = pid or 1000 + i % 50
    return {
        "seq": f"%{i}%",
        "timestamp": "%NOW%",
        "pid": process,
        "tid": process,
        "start": 77_120_034 + process,
        "syscall": CALLS[(i + n) % len(CALLS)],
        "args": {"fd": i % 16, "path": f"/srv/app/file-{i % 200}", "flags": ["O_RDONLY"]},
        "ret": i % 3,
    }


def _burst(i: int, n: int) -> dict[str, Any]:
    """Calls of one thread that have no argument worth keeping."""
    names = [CALLS[(i + n + step * step) % len(CALLS)] for step in range(BURST)]
    known = {key: value for key, value in _call(i, n).items() if key not in ("syscall", "args", "ret")}
    return {**known, "kind": "calls", "names": names}


def _events(events: list[dict[str, Any]]) -> str:
    """Return events as JSON with `%SEQ%` and `%NOW%` to fill in: making a batch must cost little."""
    text = json.dumps(events)
    for i in range(len(events)):
        text = text.replace(f'"%{i}%"', f"%SEQ%{i:03d}", 1)
    return text


def _singles() -> Load:
    return Load(
        "events", [_events([_call(i, n) for i in range(BATCH)]) for n in range(CONNECTIONS)], BATCH, 1
    )


def _bursts() -> Load:
    events = [_events([_burst(i, n) for i in range(BURSTS)]) for n in range(CONNECTIONS)]
    return Load("calls", events, BURSTS, BURST)


def _request(made: Platform, stream: str, events: str, number: int) -> bytes:
    filled = events.replace("%SEQ%", str(number + 1)).replace("%NOW%", datetime.now(UTC).isoformat())
    members = json.dumps(
        {"agent_id": f"host-{stream}", "stream": stream, "boot_id": "b", "alphabet": "strace.set.v1"}
    )
    body = f'{members[:-1]}, "events": {filled}}}'
    headers = {
        "x-api-key": made.key,
        "guardhouse-family": "host",
        "content-type": "application/json",
        "content-encoding": "zstd",
        "idempotency-key": f"{stream}-{number}",
        "prefer": "return=minimal",
    }
    return http_request("POST", "/api/v1/events", headers, zstandard.compress(body.encode(), 1))


async def _events_path(made: Platform, watcher: asyncpg.Connection, seconds: float) -> None:
    rate = await _sustained(made, watcher, _singles(), seconds)
    finish("risk_path", [rate], [], "events/s", must=40_000, goal=100_000, on="ours")


async def _calls_path(made: Platform, watcher: asyncpg.Connection, seconds: float) -> None:
    rate = await _sustained(made, watcher, _bursts(), seconds)
    finish("risk_path_calls", [rate], [], "calls/s", must=150_000, goal=400_000, on="ours")


PARTS: dict[str, Callable[[Platform, asyncpg.Connection, float], Awaitable[None]]] = {
    "replay": lambda made, watcher, _seconds: _replay(made, watcher),
    "answer": lambda made, watcher, seconds: _answers(made, watcher, min(seconds, 30.0)),
    "calls": _calls_path,
    "events": _events_path,
}


async def _run(made: Platform, parts: list[str], seconds: float) -> None:
    url = made.postgres.superuser_url.replace("+asyncpg", "").rpartition("/")[0] + "/guardhouse"
    watcher = await asyncpg.connect(url)
    try:
        for name, part in PARTS.items():
            if not parts or name in parts:
                await part(made, watcher, seconds)
    finally:
        await watcher.close()


def main() -> None:
    """Run the parts that are named, or all; the main figure last."""
    asked = argparse.ArgumentParser(description="The whole path of process risk.")
    asked.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    asked.add_argument("--seconds", type=float, default=60.0, help="how long each sustained load goes on")
    words = asked.parse_args()
    with platform("serve", "work") as made:
        asyncio.run(_run(made, words.parts, words.seconds))


if __name__ == "__main__":
    main()
