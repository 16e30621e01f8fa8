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
from _kit import Client, Platform, finish, http_request, platform

ROUNDS = 3
BATCHES = 160
BATCH = 1000
CONNECTIONS = 4
MUST, GOAL = 0.35, 0.60
CALLS = ("openat", "read", "write", "close", "mmap", "fstat", "connect", "sendto")


def main() -> None:
    """Run the rounds and print the table."""
    with platform("serve", "serve") as made:
        day = f"process_events_p{datetime.now(UTC):%Y%m%d}"
        run(made, 20)
        ours, anchor = [], []
        for number in range(ROUNDS):
            made.psql(f"TRUNCATE {day}")
            ours.append(run(made, BATCHES))
            anchor.append(copy_again(made, day))
            print(f"round {number + 1}: ours {ours[-1]:,.0f} events/s, psql copy {anchor[-1]:,.0f} rows/s")
        print(f"median ratio {statistics.median(o / a for o, a in zip(ours, anchor, strict=True)):.3f}")
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


def _request(made: Platform, agent: str, stream: str, number: int) -> bytes:
    now = datetime.now(UTC).isoformat()
    events = [
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
        "prefer": "return=minimal",
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
