import asyncio
import time
from datetime import timedelta

import httpx

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices.usage_kinds import RateLimitReached, UsageThreshold
from guardhouse.usage.limits import Limiter
from guardhouse.usage.local_windows import LocalWindows
from guardhouse.usage.tell import Word, tell
from server.tests.identity import make
from server.tests.usage.make import Someone, Ticks, give_plan


async def told(resources: Resources) -> list[tuple[str, str, int]]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT kind, subject, subject_seq FROM notices WHERE kind ~ 'usage|rate' ORDER BY id"
        )
    return [(row["kind"], row["subject"], row["subject_seq"]) for row in rows]


async def test_a_refused_key_is_said_once_whatever_it_does(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    await give_plan(resources, tenant.id, per_minute=2)
    for _ in range(9):
        await client.get("/api/v1/me", headers=make.bearing(text))
    deadline = time.monotonic() + 30
    while not (found := await told(resources)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert found == [("rate_limit.exceeded", f"usage:tenant:{tenant.id}", 1)]


async def test_two_processes_say_it_once_and_again_after_five_minutes(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    clock = SetClock()
    data = RateLimitReached.model_validate(RateLimitReached.example)

    async def say() -> bool:
        async with system_transaction(resources.database) as tx:
            return await tell(tx, Word(tenant.id, data, clock.now(), "req-1"))

    assert [await say(), await say()] == [True, False]
    clock.move(299.999)
    assert not await say()
    clock.move(0.001)
    assert await say()
    assert [number for _, _, number in await told(resources)] == [1, 2]


async def test_each_threshold_of_a_day_is_said_once(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    ticks = Ticks()
    limiter = Limiter(resources, LocalWindows(ticks))
    caller = Someone(day=20, tenant=tenant.key).caller()
    said: list[tuple[int, int]] = []
    for _ in range(20):
        await limiter.admit(caller)
        for word in limiter.take_words():
            assert isinstance(word.data, UsageThreshold)
            assert word.data.subject == f"usage:key:{caller.credential_id}"
            said.append((word.data.percent, word.data.used))
    assert said == [(80, 16), (95, 19)]


async def test_a_cost_may_cross_both_at_once_and_a_threshold_crossed_again_is_not_said_again(
    resources: Resources,
) -> None:
    tenant = await make.tenant(resources)
    ticks = Ticks()
    limiter = Limiter(resources, LocalWindows(ticks))
    caller = Someone(day=100, tenant=tenant.key).caller()
    await limiter.admit(caller, cost=97)
    first = limiter.take_words()
    assert [word.name for word in first] == ["usage.threshold day 80", "usage.threshold day 95"]
    ticks.move(timedelta(hours=24).total_seconds())
    await limiter.admit(caller, cost=97)
    again = limiter.take_words()
    assert len(again) == 2
    said = []
    for word in first + again:
        async with system_transaction(resources.database) as tx:
            said.append(await tell(tx, word))
    assert said == [True, True, False, False]
    assert [number for _, _, number in await told(resources)] == [1, 2]
