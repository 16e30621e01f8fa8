r"""Host events through intake *and* scoring for 60 s: what the worker has scored counts, and the lag must not grow.

Senders go on as fast as the platform takes batches, and wait while more than `LAG` events are not scored yet: what is
measured is what can be held. No anchor of others' exists; the bound is the seed's claim. Usage:
`python bench/scoring_path.py`.
"""

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import zstandard
from _kit import Client, Platform, finish, http_request, platform

SECONDS = 60.0
WARM_SECONDS = 5.0
BATCH = 1000
CONNECTIONS = 4
LAG = 40_000
SAMPLE_SECONDS = 0.5
MUST, GOAL = 20_000, 100_000
CALLS = ("openat", "read", "write", "close", "mmap", "fstat", "connect", "sendto")
_WAITING = (
    "SELECT coalesce(sum(c.position), 0)::bigint AS scored, coalesce(sum(a.next_position - 1), 0)::bigint AS stored"
    " FROM host_agents a LEFT JOIN score_cursors c USING (agent_no)"
)


def main() -> None:
    """Run once and print how it went second by second."""
    with platform("serve", "work") as made:
        samples = asyncio.run(_run(made))
    begun, ended = samples[0], samples[-1]
    rate = (ended[1] - begun[1]) / (ended[0] - begun[0])
    lags = [stored - scored for _, scored, stored in samples]
    half = len(lags) // 2
    first, second = max(lags[:half]), max(lags[half:])
    grows = second > max(first, LAG) * 1.25
    print(f"scored {rate:,.0f} events/s over {ended[0] - begun[0]:.0f} s")
    verdict = "it GROWS" if grows else "it does not grow"
    print(f"lag: at most {first:,} in the first half, {second:,} in the second; {verdict}")
    finish("scoring_path", [0.0 if grows else rate], [], "events/s", must=MUST, goal=GOAL, on="ours")


async def _run(made: Platform) -> list[tuple[float, int, int]]:
    run_id = secrets.token_hex(4)
    stop, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()
    clients = [await Client.open(made.port) for _ in range(CONNECTIONS)]
    shared = [_events(n) for n in range(CONNECTIONS)]
    senders = [
        asyncio.create_task(_send(made, client, f"{run_id}-{n}", shared[n], stop, go_on))
        for n, client in enumerate(clients)
    ]
    url = made.postgres.superuser_url.replace("+asyncpg", "").rpartition("/")[0] + "/guardhouse"
    watcher = await asyncpg.connect(url)
    samples: list[tuple[float, int, int]] = []
    begun = time.perf_counter()
    try:
        while time.perf_counter() - begun < WARM_SECONDS + SECONDS:
            row = await watcher.fetchrow(_WAITING)
            if row is None:
                raise RuntimeError("an aggregate has a row")
            scored, stored = row["scored"], row["stored"]
            now = time.perf_counter()
            if now - begun >= WARM_SECONDS:
                samples.append((now, scored, stored))
            if stored - scored > LAG:
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
        await asyncio.gather(*senders)
        await watcher.close()
        for client in clients:
            client.close()
    return samples


async def _send(
    made: Platform, client: Client, stream: str, events: str, stop: asyncio.Event, go_on: asyncio.Event
) -> None:
    number = 0
    while not stop.is_set():
        await go_on.wait()
        status, body = await client.send(_request(made, stream, events, number))
        answer = json.loads(body)
        if status != 207 or answer["accepted"] != BATCH:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        number += 1


def _events(n: int) -> str:
    """Return the events of a batch as JSON with `%SEQ%` and `%NOW%` to fill in: making them must cost little."""
    events: list[dict[str, Any]] = [
        {
            "seq": f"%{i}%",
            "timestamp": "%NOW%",
            "pid": 1000 + i % 50,
            "tid": 1000 + i % 50,
            "start": 77_120_034 + i % 50,
            "syscall": CALLS[(i + n) % len(CALLS)],
            "args": {"fd": i % 16, "path": f"/srv/app/file-{i % 200}", "flags": ["O_RDONLY"]},
            "ret": i % 3,
        }
        for i in range(BATCH)
    ]
    text = json.dumps(events)
    for i in range(BATCH):
        text = text.replace(f'"%{i}%"', f"%SEQ%{i:03d}", 1)
    return text


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


if __name__ == "__main__":
    main()
