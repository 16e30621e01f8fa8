r"""Intake of host events over HTTP, durable before the answer, exact dedupe, a status per item.

Two API processes share the two cores with PostgreSQL and the load generator, as `guardhouse serve` is meant to run.

Anchors in the same run: `psql \copy ... (format binary)` of the very same rows into the very same table, and
a FastAPI list of Pydantic models written through the SQLAlchemy ORM. Usage: `python bench/ingest.py`.
"""

import asyncio
import json
import secrets
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import zstandard
from _kit import Client, Platform, anchor_app, finish, http_request, platform

ROUNDS = 3
BATCHES = 160
BATCH = 1000
CONNECTIONS = 4
MUST, GOAL = 0.35, 0.60
ORM_MUST, ORM_GOAL = 12.0, 25.0
ORM_BATCHES = 8
CALLS = ("openat", "read", "write", "close", "mmap", "fstat", "connect", "sendto")


def main() -> None:
    """Run the rounds and print the table."""
    with platform("serve", "serve") as made, anchor_app(made, "host") as anchor_port:
        day = f"process_events_p{datetime.now(UTC):%Y%m%d}"
        run(made, 20)
        asyncio.run(_run_anchor(anchor_port, 2))
        ours, anchor, orm = [], [], []
        for number in range(ROUNDS):
            made.psql(f"TRUNCATE {day}")
            ours.append(run(made, BATCHES))
            anchor.append(copy_again(made, day))
            orm.append(asyncio.run(_run_anchor(anchor_port, ORM_BATCHES)))
            print(
                f"round {number + 1}: ours {ours[-1]:,.0f} events/s, psql copy {anchor[-1]:,.0f} rows/s,"
                f" FastAPI list and ORM {orm[-1]:,.0f} events/s"
            )
        print(f"median ratio {statistics.median(o / a for o, a in zip(ours, anchor, strict=True)):.3f}")
        finish("ingest_beside_orm", ours, orm, "events/s", must=ORM_MUST, goal=ORM_GOAL)
        finish("ingest", ours, anchor, "events/s", must=MUST, goal=GOAL)


def run(made: Platform, batches: int) -> float:
    """Send batches on several connections at once, one agent each; returns events per second."""
    return asyncio.run(_run(made, batches))


async def _run(made: Platform, batches: int) -> float:
    run_id = secrets.token_hex(4)
    queues = [
        [_request(made, f"host-{run_id}-{n}", f"{run_id}-{n}", b) for b in range(batches // CONNECTIONS)]
        for n in range(CONNECTIONS)
    ]
    clients = [await Client.open(made.ports[n % len(made.ports)]) for n in range(CONNECTIONS)]
    started = time.perf_counter()
    await asyncio.gather(*(_send(c, q) for c, q in zip(clients, queues, strict=True)))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return sum(map(len, queues)) * BATCH / seconds


async def _send(client: Client, requests: list[bytes]) -> None:
    for request in requests:
        status, body = await client.send(request)
        answer = json.loads(body)
        if status != 207 or answer["accepted"] != BATCH:
            raise RuntimeError(f"{status}: {body[:300]!r}")


async def _run_anchor(port: int, batches: int) -> float:
    """Send the same events as plain lists to the anchor, on as many connections; returns events per second."""
    start = time.time_ns() // BATCH  # its key is the number alone
    queues = [
        [
            http_request(
                "POST",
                "/items",
                {"content-type": "application/json"},
                json.dumps(_events(start + n * batches + b)).encode(),
            )
            for b in range(max(batches // CONNECTIONS, 1))
        ]
        for n in range(CONNECTIONS)
    ]
    clients = [await Client.open(port) for _ in queues]

    async def send(client: Client, requests: list[bytes]) -> None:
        for request in requests:
            status, answer = await client.send(request)
            if status != 201 or answer.count(b"accepted") != BATCH:
                raise RuntimeError(f"{status}: {answer[:300]!r}")

    started = time.perf_counter()
    await asyncio.gather(*(send(c, q) for c, q in zip(clients, queues, strict=True)))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return sum(map(len, queues)) * BATCH / seconds


def _events(number: int) -> list[dict[str, object]]:
    now = datetime.now(UTC).isoformat()
    return [
        {
            "seq": number * BATCH + i,
            "timestamp": now,
            "pid": 1000 + i % 50,
            "tid": 1000 + i % 50,
            "start": 77_120_034 + i % 50,
            "syscall": CALLS[i % len(CALLS)],
            "args": {"fd": i % 16, "path": f"/srv/app/file-{i % 200}", "flags": ["O_RDONLY"]},
            "ret": i % 3,
        }
        for i in range(BATCH)
    ]


def _request(made: Platform, agent: str, stream: str, number: int) -> bytes:
    events = _events(number)
    body = json.dumps(
        {
            "agent_id": agent,
            "stream": stream,
            "boot_id": "bench",
            "alphabet": "strace.set.v1",
            "events": events,
        }
    )
    headers = {
        "x-api-key": made.key,
        "guardhouse-family": "host",
        "content-type": "application/json",
        "content-encoding": "zstd",
        "idempotency-key": f"{stream}-{number}",
    }
    return http_request("POST", "/api/v1/events", headers, zstandard.compress(body.encode(), 1))


def copy_again(made: Platform, day: str) -> float:
    """Write the rows out, empty the table, and time psql copying them in again; returns rows per second."""
    file = Path(made.folder) / "rows.bin"
    made.psql(f"\\copy {day} TO '{file}' (FORMAT binary)")
    rows = int(made.psql(f"SELECT count(*) FROM {day}"))
    made.psql(f"TRUNCATE {day}")
    made.psql("CHECKPOINT")
    started = time.perf_counter()
    made.psql(f"\\copy {day} FROM '{file}' (FORMAT binary)")
    seconds = time.perf_counter() - started
    file.unlink()
    return rows / seconds


if __name__ == "__main__":
    main()
