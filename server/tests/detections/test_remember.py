"""A text that was judged a moment ago is not judged again; nobody hears of what another tenant had judged."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from guardhouse.detections import remember
from guardhouse.detections.remember import PREFIX, Remembered, key_of
from guardhouse.foundation.resources import Resources
from server.tests.components import redis_server as component
from server.tests.components.opened import add_tenant, opened
from server.tests.components.redis_server import RedisServer
from server.tests.detections.recorded_door import ATTACK, DETECT, door, judged, written
from server.tests.ingest.make import Door

__all__ = ["door"]

KEY = key_of(b"a", b"b")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with component.redis_server() as found:
        yield found


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, redis_url=SecretStr(redis_server.url)) as found:
        yield found


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remember, "REDIS_SECONDS", 5.0)  # this machine may be busy


@pytest_asyncio.fixture
async def memory(resources: Resources) -> AsyncIterator[Remembered]:
    found = Remembered(resources)
    yield found
    await found.close()


async def value() -> bytes:
    return b"the verdict"


async def nothing() -> None:
    return None


async def never() -> bytes:
    raise AssertionError("it was remembered")


async def test_a_text_is_judged_once_and_each_call_is_recorded(door: Door) -> None:
    first = await judged(door, {"text": ATTACK})
    again = await judged(door, {"text": ATTACK})
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["id"] != again["id"]
    for name in ("score", "reasons", "decision", "engine_version", "threat_types"):
        assert first[name] == again[name]
    lower = await judged(door, {"text": ATTACK, "config": {"confidence_threshold": 0.9}})
    assert (lower["cached"], lower["thresholds"]["block"]) == (True, 0.9)
    assert (await judged(door, {"text": ATTACK, "channel": "external"}))["cached"] is False
    _, other = await add_tenant(door.resources, "other")
    assert (await judged(door, {"text": ATTACK}, DETECT, x_api_key=other))["cached"] is False
    await written(door, 5)
    rows = await door.rows("SELECT cached FROM detections ORDER BY id")
    assert sum(row["cached"] for row in rows) == 2


async def test_another_process_finds_it_in_redis_and_nobody_reads_it_there(
    memory: Remembered, resources: Resources, redis_server: RedisServer
) -> None:
    assert await memory.find_or_make(KEY, 60, value) == (b"the verdict", False)
    other = Remembered(resources)
    assert await other.find_or_make(KEY, 60, never) == (b"the verdict", True)
    redis = Redis.from_url(redis_server.url)
    stored = await redis.get(PREFIX + KEY.hex())
    assert isinstance(stored, bytes)
    await redis.set(PREFIX + key_of(b"c").hex(), stored)
    await redis.aclose()
    assert b"the verdict" not in stored
    assert await other.find_or_make(key_of(b"c"), 60, nothing) is None  # sealed for another key
    await other.close()


async def test_without_redis_it_goes_on(memory: Remembered, redis_server: RedisServer) -> None:
    redis_server.kill()
    assert await memory.find_or_make(KEY, 60, value) == (b"the verdict", False)
    assert await memory.find_or_make(KEY, 60, never) == (b"the verdict", True)


async def test_equal_ones_in_flight_are_made_once(memory: Remembered) -> None:
    made = 0

    async def slowly() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0.05)
        return b"x"

    found = await asyncio.gather(*(memory.find_or_make(KEY, 60, slowly) for _ in range(20)))
    assert made == 1
    assert sum(one is not None and one[1] for one in found) == 19


async def test_what_may_not_be_kept_and_what_failed_is_made_again(memory: Remembered) -> None:
    async def failing() -> bytes:
        raise LookupError

    assert await memory.find_or_make(KEY, 60, nothing) is None
    with pytest.raises(LookupError):
        await memory.find_or_make(KEY, 60, failing)
    assert await memory.find_or_make(KEY, 60, value) == (b"the verdict", False)


async def test_the_least_recently_used_goes_first(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Remembered(replace(resources, settings=resources.settings.model_copy(update={"redis_url": None})))
    monkeypatch.setattr(remember, "MOST_ENTRIES", 2)
    one, two, three = (key_of(name) for name in (b"1", b"2", b"3"))
    for key in (one, two, one, three):
        await alone.find_or_make(key, 60, value)
    assert await alone.find_or_make(one, 60, never) == (b"the verdict", True)
    assert await alone.find_or_make(two, 60, nothing) is None
    assert await alone.find_or_make(key_of(b"4"), -1, value) == (b"the verdict", False)
    assert await alone.find_or_make(key_of(b"4"), -1, nothing) is None  # its time is over
