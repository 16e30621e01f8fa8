"""A service that writes the same few kinds of lines, what does not belong among them, and workers to judge it all."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from guardhouse.anomalies.scan import jobs
from guardhouse.foundation.resources import Resources
from server.tests.ingest.make import Door

PATIENCE_SECONDS = 120.0
ODD = "kernel panic: GET /../../etc/shadow?x=%00%ff AAAA$(reboot) from nowhere"


def lines(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Return usual lines, the same ones for the same seed."""
    draw = random.Random(seed)
    kinds = (
        lambda: (
            f"INFO user {draw.randrange(900)} signed in from 10.0.{draw.randrange(9)}.{draw.randrange(99)}"
        ),
        lambda: f"INFO order {draw.randrange(90_000)} paid in {draw.randrange(400)} ms",
        lambda: f"DEBUG cache hit for key item:{draw.randrange(5000)}",
        lambda: f"WARN slow query took {draw.randrange(2000)} ms on replica {draw.randrange(3)}",
    )
    return [{"text": draw.choice(kinds)(), "entity": f"host-{draw.randrange(4)}"} for _ in range(count)]


async def feed(door: Door, slug: str, events: list[dict[str, Any]], cut: int = 250) -> None:
    """Send events in requests of a size."""
    for begin in range(0, len(events), cut):
        body = {"events": events[begin : begin + cut]}
        answer = await door.post(f"/api/v1/streams/{slug}/events", body)
        assert answer.status_code == 202, answer.text


@asynccontextmanager
async def judging(resources: Resources) -> AsyncIterator[asyncio.Event]:
    """Run a worker's loop for the length of the block; it must end without an error."""
    stop = asyncio.Event()
    running = asyncio.create_task(jobs.judge_streams(resources, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running


async def until_judged(door: Door) -> None:
    """Wait until every event of every stream is judged."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await door.rows("SELECT FROM streams WHERE processed_seq < last_seq AND deleted_at IS NULL"):
            await asyncio.sleep(0.05)


async def told(door: Door) -> list[tuple[Any, ...]]:
    """Return what does not depend on when and by whom it was written, of every anomaly."""
    rows = await door.rows(
        "SELECT kind, first_seq, last_seq, severity, signature, p_value, alerted, score, glass_box, explanation"
        " FROM anomalies ORDER BY first_seq, kind, signature"
    )
    return [tuple(row) for row in rows]
