import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from guardhouse.foundation.rate_window import RateWindow
from guardhouse.usage.limits import DEGRADED, Limiter
from guardhouse.usage.policy import Policy, day, minute
from guardhouse.usage.redis_windows import FAULTS, SCRIPT, RedisWindows
from guardhouse.usage.refusals import LimiterAway, RateLimitExceeded
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.components.redis_server import RedisServer, redis_server
from server.tests.identity import make
from server.tests.usage.make import Someone, give_plan, until

TAKER = """
import asyncio, json, sys, time
from guardhouse.usage.policy import day, minute
from guardhouse.usage.redis_windows import RedisWindows

async def main():
    windows = RedisWindows(sys.argv[1])
    await windows.connect()
    policies = [minute("minute", "key:1", 10, "t"), day("day", "key:1", 1000, "t")]
    print("ready", flush=True)
    sys.stdin.readline()
    async def take():
        for _ in range(100):  # the machine may be busier than 2 ms; a call that got no answer is asked again
            try:
                return (await windows.take(policies)).admitted
            except TimeoutError:
                unknown.append(1)
        raise SystemExit("Redis does not answer")
    unknown = []
    verdicts = await asyncio.gather(*(take() for _ in range(5)))
    print(json.dumps([sum(verdicts), len(unknown)]), flush=True)
    await windows.close()

asyncio.run(main())
"""


def _taker(url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TAKER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@pytest_asyncio.fixture
async def windows(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisWindows]:
    """Windows that wait as long as a busy test machine needs."""
    monkeypatch.setattr("guardhouse.usage.redis_windows.PATIENCE_SECONDS", 5.0)
    made = RedisWindows(server.url)
    await made.connect()
    yield made
    await made.close()


async def test_the_script_keeps_the_rules_of_the_window(windows: RedisWindows, server: RedisServer) -> None:
    """The same calls at the same instants, told to the script by a clock of ours, and to the window in Python."""
    policies = [Policy("a", "s", 7, 500_000, 5000, "g"), Policy("b", "s", 12, 3_000_000, 400_000, "g")]
    here = [RateWindow(policy.span, policy.grain) for policy in policies]
    chance = random.Random(7)
    redis = Redis.from_url(server.url)
    scripted = SCRIPT.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}")
    names = [f"x:{{g}}:{policy.name}" for policy in policies]
    numbers = [n for policy in policies for n in (policy.limit, policy.span, policy.grain)]
    now = 1_800_000_000_000_000
    admitted = 0
    for _ in range(1500):
        now += chance.choice([0, 1, 400, 4999, 5000, 60_000, 250_000])
        cost = chance.choice([1, 1, 1, 2, 5, 8])
        waits = [window.wait(now, policy.limit, cost) for window, policy in zip(here, policies, strict=True)]
        if not any(wait != 0 for wait in waits):
            admitted += 1
            for window in here:
                window.add(now, cost)
        said = await redis.eval(
            scripted, 2, *names, str(cost), "0", *map(str, numbers), str(now // 10**6), str(now % 10**6)
        )
        expected: list[int] = []
        for window, policy, wait in zip(here, policies, waits, strict=True):
            expected += [policy.limit - window.total, window.leaves(now), -1 if wait is None else wait]
        assert said == expected
    assert 100 < admitted < 1400
    await redis.aclose()
    assert (await windows.take(policies)).admitted


async def test_four_processes_admit_exactly_ten_of_twenty(server: RedisServer) -> None:
    takers = [_taker(server.url) for _ in range(4)]
    try:
        for taker in takers:
            assert taker.stdout is not None
            assert await asyncio.to_thread(taker.stdout.readline) == "ready\n"
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("\n")
            taker.stdin.flush()
        found = [json.loads((await asyncio.to_thread(taker.communicate))[0]) for taker in takers]
    finally:
        for taker in takers:
            taker.kill()
            taker.wait()
    admitted, unknown = (sum(column) for column in zip(*found, strict=True))
    assert admitted <= 10
    assert admitted + unknown >= 10  # an answer that came too late may have admitted a call that nobody made
    redis = Redis.from_url(server.url)
    assert await redis.hget("guardhouse:rate:{t}:minute:key:1", "n") == b"10"
    await redis.aclose()


async def test_retry_after_on_redis_is_the_moment_it_opens(windows: RedisWindows) -> None:
    policies = [Policy("short", "key:1", 2, 300_000, 1000, "t")]
    began = time.monotonic()
    first = [await windows.take(policies) for _ in range(2)]
    assert all(verdict.admitted for verdict in first)
    refused = await windows.take(policies)
    assert not refused.admitted
    assert 0 < refused.readings[0].wait <= 300_000
    await asyncio.sleep(refused.readings[0].wait / 1_000_000)
    assert (await windows.take(policies)).admitted
    assert time.monotonic() - began >= 0.25


async def test_all_or_none_forced_and_forgotten(windows: RedisWindows, server: RedisServer) -> None:
    both = [minute("minute", "key:1", 10, "t"), day("day", "key:1", 2, "t")]
    for _ in range(2):
        assert (await windows.take(both)).admitted
    refused = await windows.take(both)
    assert [reading.left for reading in refused.readings] == [8, 0]
    assert [reading.wait > 0 for reading in refused.readings] == [False, True]
    forced = await windows.take(both, 5, forced=True)
    assert [reading.left for reading in forced.readings] == [3, 0]
    impossible = await windows.take(both[:1], 11)
    assert impossible.readings[0].wait == -1
    redis = Redis.from_url(server.url)
    assert 0 < await redis.pttl("guardhouse:rate:{t}:minute:key:1") <= 61_000
    await redis.aclose()


async def test_killed_and_back(
    server: RedisServer, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead at once: its share; back: shared again, with what was admitted meanwhile."""
    monkeypatch.setattr("guardhouse.usage.redis_windows.PATIENCE_SECONDS", 5.0)
    async with (
        opened(database_url, tmp_path, redis_url=SecretStr(server.url)) as resources,
        api.running(resources) as app,
        api.client_for(app) as client,
    ):
        limiter: Limiter = app.state.limiter
        await until(lambda: limiter.state == "shared")
        tenant = await make.tenant(resources)
        _, text = await make.key(resources, tenant)
        await give_plan(resources, tenant.id, per_minute=10)
        await client.get("/api/v1/me", headers=make.bearing(text))
        server.kill()
        answers = [await client.get("/api/v1/me", headers=make.bearing(text)) for _ in range(10)]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200] * 9 + [429]  # the one admitted through Redis is known here too
        assert all(answer.headers["guardhouse-degraded"] == "rate-limit" for answer in answers[:9])
        assert DEGRADED._value.get() == 1
        assert (await client.get("/health")).json()["components"]["rate_limits"] == "degraded: share"
        assert (await client.get("/readyz")).status_code == 200
        server.start()
        await until(lambda: limiter.state == "shared")
        assert DEGRADED._value.get() == 0
        answer = await client.get("/api/v1/me", headers=make.bearing(text))
        assert answer.status_code == 200  # the new Redis knows the nine, not the one of its former life
        assert "guardhouse-degraded" not in answer.headers
        assert (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 429


async def test_hung_and_back(server: RedisServer, database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path, redis_url=SecretStr(server.url)) as resources:
        limiter = Limiter(resources)
        await limiter.start()
        await until(lambda: limiter.state == "shared")
        caller = Someone(minute=6, tenant=(await make.tenant(resources)).key).caller()
        server.hang()
        for _ in range(6):
            assert (await limiter.admit(caller)).degraded
        with pytest.raises(RateLimitExceeded):
            await limiter.admit(caller)
        assert limiter.degraded
        assert not await limiter.mend()
        server.wake()
        deadline = time.monotonic() + 30
        while not await limiter.mend():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        with pytest.raises(RateLimitExceeded):
            await limiter.admit(caller)
        await limiter.close()


async def test_one_late_answer_is_decided_here_and_paid_later(
    server: RedisServer, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database_url, tmp_path, redis_url=SecretStr(server.url)) as resources:
        limiter = Limiter(resources)
        await limiter.start()
        caller = Someone(minute=9, tenant=(await make.tenant(resources)).key).caller()
        server.hang()
        assert (await limiter.admit(caller)).degraded
        assert not limiter.degraded  # one late answer is not yet a Redis that is away
        assert sum(limiter.debts.values()) == 1
        server.wake()
        monkeypatch.setattr("guardhouse.usage.redis_windows.PATIENCE_SECONDS", 5.0)
        assert await limiter.mend()
        assert not limiter.debts
        assert (await limiter.admit(caller)).readings[0].left < 8
        await limiter.close()


async def test_away_from_the_start_and_what_the_setting_says(database_url: str, tmp_path: Path) -> None:
    nowhere = SecretStr("redis://127.0.0.1:9/0")
    async with opened(database_url, tmp_path, redis_url=nowhere, rate_limit_fallback="open") as resources:
        caller = Someone(minute=1, tenant=(await make.tenant(resources)).key).caller()
        limiter = Limiter(resources)
        await limiter.start()
        assert limiter.state == "degraded: open"
        for _ in range(3):
            assert (await limiter.admit(caller)).degraded
    async with opened(database_url, tmp_path, redis_url=nowhere, rate_limit_fallback="closed") as resources:
        limiter = Limiter(resources)
        await limiter.start()
        with pytest.raises(LimiterAway) as refused:
            await limiter.admit(caller)
        assert refused.value.headers["Retry-After"] == "1"


async def test_without_a_connection_it_says_so() -> None:
    with pytest.raises(FAULTS):
        await RedisWindows("redis://127.0.0.1:9/0").take([minute("minute", "key:1", 1, "t")])
