"""Intake of app events over HTTP: gzip bodies of 100, a commit per body, every item deduplicated by id.

The anchor in the same run takes the same events as a FastAPI list of Pydantic models and writes them through
the SQLAlchemy ORM, without dedupe and uncompressed. Usage: `python bench/agent/intake.py`.
"""

import asyncio
import gzip
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import psutil

BENCH = Path(__file__).parents[1]
sys.path.insert(0, str(BENCH))

from _kit import Client, Platform, anchor_app, finish, http_request, platform  # noqa: E402

ROUNDS = 3
BODY = 100
BODIES = 300
ANCHOR_BODIES = 60
CONNECTIONS = 4
RATE_BODIES = 50  # per second: 5,000 events
RATE_SECONDS = 8
LARGE = 10_000
MUST, GOAL = 5_000, 10_000
MUST_P99_MS, MUST_LARGE_SECONDS = 60, 1.5


def main() -> None:
    """Run the rounds and print the figures."""
    with platform("serve") as made, anchor_app(made, "app") as anchor_port:
        asyncio.run(closed_loop(made.port, [ours_request(made) for _ in range(20)], 200))
        asyncio.run(closed_loop(anchor_port, [anchor_request() for _ in range(5)], 201))
        ours, anchor, late, large = [], [], [], []
        api_us, database_us = [], []
        for number in range(ROUNDS):
            requests = [ours_request(made) for _ in range(BODIES)]
            before = cpu_seconds(made)
            ours.append(BODIES * BODY / asyncio.run(closed_loop(made.port, requests, 200)))
            api, database = (b - a for a, b in zip(before, cpu_seconds(made), strict=True))
            api_us.append(api * 1e6 / (BODIES * BODY))
            database_us.append(database * 1e6 / (BODIES * BODY))
            requests = [anchor_request() for _ in range(ANCHOR_BODIES)]
            anchor.append(ANCHOR_BODIES * BODY / asyncio.run(closed_loop(anchor_port, requests, 201)))
            requests = [ours_request(made) for _ in range(RATE_BODIES * RATE_SECONDS)]
            late.append(asyncio.run(open_loop(made.port, requests)) * 1000)
            large.append(asyncio.run(closed_loop(made.port, [ours_request(made, LARGE)], 200)))
            print(
                f"round {number + 1}: ours {ours[-1]:,.0f} events/s, ORM {anchor[-1]:,.0f} events/s;"
                f" p99 at {RATE_BODIES * BODY:,} events/s {late[-1]:.1f} ms;"
                f" a body of {LARGE:,} {large[-1]:.2f} s"
            )
        print(f"CPU per event: API {median(api_us):.0f} µs, PostgreSQL {median(database_us):.0f} µs")
        stored = int(made.psql("SELECT count(*) FROM events"))
        sent = (20 + ROUNDS * (BODIES + RATE_BODIES * RATE_SECONDS)) * BODY + ROUNDS * LARGE
        print(f"stored {stored:,} of {sent:,} events sent; median ratio {median(ours) / median(anchor):.1f}")
        if stored != sent:
            raise SystemExit("events were lost or stored twice")
        p99 = {"must": MUST_P99_MS, "on": "ours", "better": "lower"}
        finish("agent_intake_p99", late, [], "ms", **p99)
        body = {"must": MUST_LARGE_SECONDS, "on": "ours", "better": "lower"}
        finish("agent_intake_large_body", large, [], "s", **body)
        finish("agent_intake", ours, anchor, "events/s", must=MUST, goal=GOAL, on="ours")


def cpu_seconds(made: Platform) -> tuple[float, float]:
    """Return the processor time that the API process and all of PostgreSQL have used so far."""
    server = psutil.Process(made.postgres.pid or 0)
    return (
        sum(psutil.Process(made.pids[0]).cpu_times()[:2]),
        sum(sum(process.cpu_times()[:2]) for process in [server, *server.children(recursive=True)]),
    )


async def closed_loop(port: int, requests: list[bytes], expected: int) -> float:
    """Send requests one after the other on each of a few connections; returns the seconds all took."""
    clients = [await Client.open(port) for _ in range(min(CONNECTIONS, len(requests)))]
    waiting = iter(requests)

    async def work(client: Client) -> None:
        for request in waiting:
            check(await client.send(request), expected)

    started = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return seconds


async def open_loop(port: int, requests: list[bytes]) -> float:
    """Send requests at a fixed rate, whatever the answers take; returns the 99th percentile in seconds.

    A request's time runs from when it was due, so waiting for a free connection counts.
    """
    free: asyncio.Queue[Client] = asyncio.Queue()
    for _ in range(CONNECTIONS * 4):
        free.put_nowait(await Client.open(port))
    times: list[float] = []

    async def one(due: float, request: bytes) -> None:
        client = await free.get()
        check(await client.send(request), 200)
        times.append(time.perf_counter() - due)
        free.put_nowait(client)

    started = time.perf_counter()
    sent = []
    for number, request in enumerate(requests):
        due = started + number / RATE_BODIES
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(one(due, request)))
    await asyncio.gather(*sent)
    while not free.empty():
        free.get_nowait().close()
    return quantiles(times, n=100)[98]


def check(answer: tuple[int, bytes], expected: int) -> None:
    """Insist that a whole body was stored."""
    status, body = answer
    if status != expected or _accepted(body) % BODY:
        raise RuntimeError(f"{status}: {body[:300]!r}")


def ours_request(made: Platform, count: int = BODY) -> bytes:
    """Return a fresh batch as released clients send it."""
    batch = {
        "project_id": "bench",
        "events": [event(n) for n in range(count)],
        "metrics": [],
        "batch_id": str(uuid4()),
        "created_at": datetime.now(UTC).isoformat(sep=" "),
        "compressed": True,
        "agent_version": "3.2.4",
    }
    headers = {
        "x-api-key": made.key,
        "x-project-id": "bench",
        "content-type": "application/json",
        "content-encoding": "gzip",
    }
    return http_request("POST", "/api/v1/events", headers, gzip.compress(json.dumps(batch).encode(), 6))


def _accepted(body: bytes) -> int:
    """Return how many items an answer took; the anchor's lists an outcome per item."""
    answer = json.loads(body)
    return len(answer) if isinstance(answer, list) else int(answer["accepted"])


def anchor_request() -> bytes:
    """Return the same kind of events as a plain list."""
    body = json.dumps([event(n) for n in range(BODY)]).encode()
    return http_request("POST", "/items", {"content-type": "application/json"}, body)


def event(number: int) -> dict[str, Any]:
    """Return one event of about 700 bytes, every field present, as clients send them."""
    shown = f"Query param 'q': Value matched pattern '<script[^>]*>' in request {number}"
    return {
        "idempotency_key": str(uuid4()),
        "timestamp": (datetime.now(UTC) - timedelta(milliseconds=number)).isoformat(sep=" "),
        "event_type": "penetration_attempt",
        "ip_address": f"192.0.2.{number % 250}",
        "country": None,
        "user_agent": "python-httpx/0.28.1",
        "action_taken": "request_blocked",
        "reason": f"Penetration attempt detected: {shown}",
        "endpoint": "/search",
        "method": "GET",
        "status_code": None,
        "response_time": 0.0747,
        "decorator_type": None,
        "rule_type": None,
        "pattern_matched": None,
        "handler_name": "middleware",
        "metadata": {"request_count": number, "trigger_info": shown},
    }


if __name__ == "__main__":
    main()
