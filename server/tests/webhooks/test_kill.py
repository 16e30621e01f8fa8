"""Workers killed with SIGKILL while they deliver: nothing is lost, one id per event, nothing after *delivered*."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from server.tests.components.receiver import Receiver, Turn
from server.tests.webhooks import make

KILLS = 12
EVENTS = 300
REPOSITORY = Path(__file__).parents[3]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Nursery:
    """Workers by request; whatever lives at the end is killed."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self.program = program
        self.living: list[int] = []

    async def start(self) -> int:
        """Start a worker and return its process id."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(b"one more\n")
        self.living.append(int(await self.program.stdout.readline()))
        return self.living[-1]

    def kill(self, pid: int) -> None:
        """Kill a worker, whatever it is doing."""
        os.kill(pid, signal.SIGKILL)
        self.living.remove(pid)


@asynccontextmanager
async def nursery(database_url: str, folder: Path) -> AsyncIterator[Nursery]:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.tests.webhooks.victim", database_url, str(folder), cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    made = Nursery(program)
    try:
        yield made
    finally:
        for pid in tuple(made.living):
            made.kill(pid)
        assert program.stdin is not None
        program.stdin.close()
        await program.wait()


@pytest.mark.timeout(240)
async def test_kill_9_loses_nothing_and_repeats_nothing_that_was_recorded(
    database_url: str, tmp_path: Path, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    draw = random.Random(20261122)
    recorded: set[UUID] = set()
    after_recorded: list[UUID] = []

    async def take(turn: Turn) -> None:
        delivery = UUID(turn.request.headers["x-delivery-id"])
        if delivery in recorded:
            after_recorded.append(delivery)
        await asyncio.sleep(draw.random() * 0.02)
        await turn.write(OK)

    async def watch() -> None:
        while True:
            rows = await make.rows(resources, "SELECT id FROM webhook_deliveries WHERE state = 'delivered'")
            recorded.update(row["id"] for row in rows)
            await asyncio.sleep(0.02)

    receiver.behave = take
    for fifo in (False, True):
        await make.endpoint(resources, tenant, receiver.url(), fifo=fifo, preset="custom", steps=(1,) * 15)
    watching = asyncio.create_task(watch())
    said = 0
    async with nursery(database_url, tmp_path) as workers:
        for _ in range(KILLS):
            worker = await workers.start()
            seen = len(receiver.requests)
            await make.say(resources, tenant, *range(said, said + EVENTS // KILLS), subject=said % 3 + 1)
            said += EVENTS // KILLS
            await receiver.wait_for(seen + 1, seconds=60)
            await asyncio.sleep(draw.random() * 0.3)
            workers.kill(worker)
        await workers.start()
        await make.until_states(resources, delivered=2 * EVENTS)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    ids = {row["id"] for row in await make.rows(resources, "SELECT id FROM webhook_messages")}
    came = Counter(request.headers["webhook-id"] for request in receiver.requests)
    assert set(came) == {f"msg_{found.hex}" for found in ids}
    assert len(came) == EVENTS
    assert after_recorded == []
    print(f"{len(receiver.requests)} requests for {2 * EVENTS} deliveries over {KILLS} kills")
