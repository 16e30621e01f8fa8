import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from guardhouse.foundation import jobs_claim
from guardhouse.foundation.jobs import (
    Backoff,
    ClaimedJob,
    Job,
    JobContext,
    Priority,
    When,
    enqueue,
    enqueue_all,
    every,
    job,
)
from guardhouse.foundation.jobs_claim import Claimer, Result
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

START = datetime(2026, 1, 1, tzinfo=UTC)


@job("test.work", lease_seconds=30, retry=Backoff(failures=2))
async def work(_context: JobContext, _payload: int) -> None: ...


@job("test.other")
async def other(_context: JobContext, _payload: int) -> None: ...


@every(60, "test.tick")
async def tick(_context: JobContext) -> None: ...


def claimer(*jobs: Job[Any]) -> Claimer:
    return Claimer(uuid4(), {each.name: each for each in jobs or (work,)})


async def add(resources: Resources, n: int, when: When | None = None) -> list[int]:
    async with system_transaction(resources.database) as tx:
        return await enqueue_all(tx, work, list(range(n)), when=when or When())


async def claim(
    resources: Resources, who: Claimer, limit: int, after: str = "", now: datetime = START
) -> tuple[list[ClaimedJob], str]:
    async with system_transaction(resources.database) as tx:
        return await jobs_claim.claim(tx, who, after, limit, now)


async def settle(resources: Resources, *results: Result) -> None:
    async with system_transaction(resources.database) as tx:
        await jobs_claim.settle(tx, results)


async def states(resources: Resources) -> dict[str, int]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT state, count(*) AS n FROM jobs GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


async def test_concurrent_workers_never_share_a_job(resources: Resources) -> None:
    ids = await add(resources, 300)

    async def drain() -> list[int]:
        mine, who = list[int](), claimer()
        while True:
            found, _ = await claim(resources, who, 7)
            if not found:
                return mine
            mine += [each.id for each in found]

    hands = await asyncio.gather(*(drain() for _ in range(8)))
    assert sorted(id_ for hand in hands for id_ in hand) == ids


async def test_a_long_queue_does_not_hide_a_short_one(resources: Resources) -> None:
    await add(resources, 500, When(fairness_key="greedy"))
    await add(resources, 3, When(fairness_key="modest"))
    found, _ = await claim(resources, claimer(), 20)
    assert Counter(each.fairness_key for each in found) == {"greedy": 10, "modest": 3}


async def test_every_key_gets_its_turn_when_keys_outnumber_the_batch(resources: Resources) -> None:
    keys = [f"key-{number:02}" for number in range(25)]
    for key in keys:
        await add(resources, 4, When(fairness_key=key))
    who, after, served = claimer(), "", Counter[str]()
    for _ in range(5):
        found, after = await claim(resources, who, 5, after)
        served.update(each.fairness_key for each in found)
    assert served == dict.fromkeys(keys, 1)


async def test_the_walk_begins_again_at_the_end_of_the_keys(resources: Resources) -> None:
    await add(resources, 2, When(fairness_key="a"))
    await add(resources, 2, When(fairness_key="z"))
    found, after = await claim(resources, claimer(), 4, after="m")
    assert [each.fairness_key for each in found] == ["z", "z", "a", "a"]
    assert after == "a"


async def test_one_key_is_served_by_priority_then_age(resources: Resources) -> None:
    (bulk,) = await add(resources, 1, When(priority=Priority.BULK))
    (first,) = await add(resources, 1)
    (second,) = await add(resources, 1)
    (urgent,) = await add(resources, 1, When(priority=Priority.URGENT))
    order = [(await claim(resources, claimer(), 1))[0][0].id for _ in range(4)]
    assert order == [urgent, first, second, bulk]


async def test_jobs_this_program_does_not_know_are_left_alone(resources: Resources) -> None:
    await add(resources, 1)
    assert await claim(resources, claimer(other), 10) == ([], "")
    assert await states(resources) == {"ready": 1}


async def test_a_finished_job_is_gone(resources: Resources) -> None:
    await add(resources, 1)
    (mine,), _ = await claim(resources, claimer(), 1)
    await settle(resources, Result(mine, "done", mine.run_at, 0))
    assert await states(resources) == {}


async def test_a_waiting_job_becomes_ready_at_its_time_by_the_clock_given(resources: Resources) -> None:
    await add(resources, 1, When(run_at=START + timedelta(hours=1)))
    async with system_transaction(resources.database) as tx:
        assert await jobs_claim.promote(tx, START + timedelta(minutes=59)) == 0
        assert await jobs_claim.promote(tx, START + timedelta(minutes=60)) == 1
    found, _ = await claim(resources, claimer(), 1)
    assert len(found) == 1


async def test_a_lost_lease_goes_to_another_and_the_first_changes_nothing(resources: Resources) -> None:
    await add(resources, 1)
    (before,), _ = await claim(resources, claimer(), 1)
    async with system_transaction(resources.database) as tx:
        assert await jobs_claim.reap(tx, claimer(), START + timedelta(seconds=29)) == []
        assert await jobs_claim.reap(tx, claimer(), START + timedelta(seconds=31)) == [("test.work", "ready")]
    (after,), _ = await claim(resources, claimer(), 1)
    assert (after.id, after.attempt, after.failures) == (before.id, 2, 1)
    await settle(resources, Result(before, "done", before.run_at, 0))
    assert await states(resources) == {"running": 1}
    await settle(resources, Result(after, "done", after.run_at, 0))
    assert await states(resources) == {}


async def test_a_job_that_takes_its_workers_down_ends_as_a_dead_letter(resources: Resources) -> None:
    await add(resources, 1)
    for _ in range(2):
        await claim(resources, claimer(), 1)
        async with system_transaction(resources.database) as tx:
            await jobs_claim.reap(tx, claimer(), START + timedelta(seconds=31))
    assert await states(resources) == {"dead": 1}


async def test_a_heartbeat_keeps_the_lease(resources: Resources) -> None:
    await add(resources, 2)
    who = claimer()
    (first, second), _ = await claim(resources, who, 2)
    late = START + timedelta(seconds=31)
    async with system_transaction(resources.database) as tx:
        assert await jobs_claim.renew(tx, [first], who, START + timedelta(seconds=20)) == {first.id}
        assert len(await jobs_claim.reap(tx, who, late)) == 1
        assert await jobs_claim.renew(tx, [first, second], who, late) == {first.id}


async def test_a_hint_that_comes_while_its_like_runs_is_kept(resources: Resources) -> None:
    when = When(unique_key="lane-1")
    await add(resources, 1, when)
    await claim(resources, claimer(), 1)
    assert len(await add(resources, 1, when)) == 1
    assert await states(resources) == {"running": 1, "ready": 1}


async def test_dead_letters_go_after_thirty_days(resources: Resources) -> None:
    await add(resources, 1)
    (mine,), _ = await claim(resources, claimer(), 1)
    await settle(resources, Result(mine, "dead", START, 0, "no use"))
    async with system_transaction(resources.database) as tx:
        assert await jobs_claim.prune_dead(tx, START + timedelta(days=29)) == 0
        assert await jobs_claim.prune_dead(tx, START + timedelta(days=31)) == 1


async def test_of_many_workers_one_enqueues_a_schedule(resources: Resources) -> None:
    async def look(now: datetime) -> list[str]:
        async with system_transaction(resources.database) as tx:
            return await jobs_claim.run_schedules(tx, {tick.name: tick}, now)

    assert sum(map(len, await asyncio.gather(*(look(START) for _ in range(8))))) == 1
    assert await look(START + timedelta(seconds=59)) == []
    assert await states(resources) == {"ready": 1}


async def test_a_schedule_does_not_overtake_itself(resources: Resources) -> None:
    async def look(seconds: float) -> list[str]:
        async with system_transaction(resources.database) as tx:
            return await jobs_claim.run_schedules(tx, {tick.name: tick}, START + timedelta(seconds=seconds))

    assert await look(0) == ["test.tick"]
    (running,), _ = await claim(resources, claimer(tick), 1)
    assert await look(300) == []
    await settle(resources, Result(running, "done", running.run_at, 0))
    assert await look(301) == ["test.tick"]


async def test_due_jobs_are_counted_by_name(resources: Resources) -> None:
    await add(resources, 3)
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, other, 1)
        assert await jobs_claim.count_due(tx) == {"test.work": 3, "test.other": 1}
