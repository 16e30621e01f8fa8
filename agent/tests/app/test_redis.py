"""Batches in the application's Redis where there is no disk: kept over a kill, inherited once, in nobody's way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from agent.tests.app.conftest import MakeAgent, adds_up, event
from agent.tests.app.sink import Script, Sink
from server.tests.components.redis_server import RedisServer, redis_server


class Handler:
    """The application's handler of a real Redis, with the prefix that every key gets."""

    def __init__(self, url: str) -> None:
        self.client = redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=30)

    async def initialize(self) -> None: ...

    async def get_key(self, namespace: str, key: str) -> Any:
        return await self.client.get(f"app:{namespace}:{key}")

    async def set_key(self, namespace: str, key: str, value: Any, ttl: int | None = None) -> bool | None:
        return bool(await self.client.set(f"app:{namespace}:{key}", value, ex=ttl))

    async def delete(self, namespace: str, key: str) -> int | None:
        return int(await self.client.delete(f"app:{namespace}:{key}"))

    async def keys(self, pattern: str) -> list[str] | None:
        return [str(name) for name in await self.client.keys(f"app:{pattern}")]

    @asynccontextmanager
    async def get_connection(self) -> AsyncIterator[Any]:
        yield self.client


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture
async def handler(server: RedisServer) -> AsyncIterator[Handler]:
    made = Handler(server.url)
    yield made
    await made.client.aclose()


async def until(condition: Any, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_a_dead_instance_left_in_redis_is_sent_once(
    sink: Sink, make_agent: MakeAgent, handler: Handler
) -> None:
    sink.choose = lambda _: Script(reset=True)
    agent: Any = make_agent(sink, durability="redis")
    await agent.initialize_redis(handler)
    for number in range(10):
        agent.send_event(event(number, "penetration_attempt"))
    await until(lambda: agent.ledger()["events"]["pending"]["redis"] == 10)
    assert adds_up(agent.ledger())
    assert (await agent.get_status()).status == "degraded"
    await agent.stop()
    assert agent.ledger()["events"]["dropped"]["shutdown_deadline"] == 0
    assert await handler.keys("agent_events:batch_*")
    for lease in await handler.client.keys("app:agent_events:lease_*"):  # its time runs out
        await handler.client.delete(lease)
    sink.choose = lambda _: None
    heir: Any = make_agent(sink, durability="redis")
    await heir.initialize_redis(handler)
    await until(lambda: len(sink.names()) == 10)
    assert sorted(map(int, sink.names())) == list(range(10))
    await heir.stop()
    assert await handler.keys("agent_events:batch_*") == []


async def test_a_living_instance_keeps_its_batches(
    sink: Sink, make_agent: MakeAgent, handler: Handler
) -> None:
    sink.choose = lambda _: Script(reset=True)
    owner: Any = make_agent(sink, durability="redis")
    await owner.initialize_redis(handler)
    await until(lambda: owner._engine.keeper.redis._renew_at > 0)
    owner.send_event(event("mine", "penetration_attempt"))
    await until(lambda: owner.ledger()["events"]["pending"]["redis"] == 1)
    other: Any = make_agent(sink, durability="redis")
    await other.initialize_redis(handler)
    await until(lambda: other._engine.keeper.redis._renew_at > 0)
    assert list(other._engine.keeper.redis._accounts) == [other._engine.account.instance]


@pytest.mark.parametrize("trouble", ["dead", "hangs"])
async def test_a_redis_in_trouble_blocks_nothing_and_memory_serves(
    sink: Sink,
    make_agent: MakeAgent,
    handler: Handler,
    server: RedisServer,
    trouble: str,
) -> None:
    if trouble == "dead":
        server.kill()
    else:
        server.hang()
    sink.choose = lambda _: Script(reset=True)
    agent: Any = make_agent(sink, durability="redis")
    await agent.initialize_redis(handler)
    agent.send_event(event("kept", "penetration_attempt"))
    await until(lambda: agent.get_stats()["buffer_stats"]["redis_persist_failures"] > 0)
    assert agent.ledger()["events"]["pending"]["redis"] == 0
    assert agent.get_stats()["spool"]["durability"] == "memory"
    sink.choose = lambda _: None
    await until(lambda: sink.names() == ["kept"])
    await agent.stop()
    assert adds_up(agent.ledger())
