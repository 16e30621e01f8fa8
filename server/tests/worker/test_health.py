import asyncio
import socket
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.database import Database
from guardhouse.foundation.jobs import JobContext, enqueue, job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.worker.engine import Engine, Pace
from guardhouse.worker.health import Health, serve_health
from server.tests.worker.make import PATIENCE_SECONDS, eventually


@job("test.idle")
async def idle(_context: JobContext, _payload: int) -> None: ...


def health_of(resources: Resources, stop: asyncio.Event) -> Health:
    return Health(resources, stop, Engine(resources, uuid4(), {idle.name: idle}, Pace()))


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_the_worker_answers_on_its_own_port(resources: Resources, port: int) -> None:
    stop = asyncio.Event()
    health = health_of(resources, stop)
    health.beat(resources.clock.now())
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, idle, 1)
    serving = asyncio.create_task(serve_health(health, port, stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def up() -> bool:
            try:
                return (await client.get("/healthz")).text == "ok"
            except httpx.ConnectError:
                return False

        await eventually(up)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
        metrics = (await client.get("/metrics")).text
        assert 'guardhouse_jobs_due{kind="test.idle"} 1.0' in metrics
        assert "guardhouse_worker_last_heartbeat_timestamp_seconds" in metrics
        assert (await client.get("/nothing")).status_code == 404
    stop.set()
    await asyncio.wait_for(serving, PATIENCE_SECONDS)


async def test_not_ready_says_why(resources: Resources) -> None:
    stop = asyncio.Event()
    health = health_of(resources, stop)
    assert await health.problems() == ["starting"]
    stop.set()
    health.beat(resources.clock.now())
    assert await health.problems() == ["draining"]


async def test_a_database_that_is_away_is_said(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    health = health_of(resources, asyncio.Event())
    health.beat(resources.clock.now())

    def refuse(_self: Database) -> object:
        raise OSError("no route")

    monkeypatch.setattr(type(resources.database.engine), "begin", refuse)
    assert await health.problems() == ["database"]


async def test_a_taken_port_is_no_reason_to_stop(resources: Resources, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        stop = asyncio.Event()
        await asyncio.wait_for(serve_health(health_of(resources, stop), port, stop), PATIENCE_SECONDS)
