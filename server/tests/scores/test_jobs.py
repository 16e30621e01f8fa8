"""The scoring loop: lanes held, taken over and given back, faults of one agent, the database going away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores import apply, claim, jobs
from guardhouse.scores.store import LANES, Backlog
from server.tests.components.hosts import EVERY_LANE, Host, call
from server.tests.ingest.make import Door

PATIENCE_SECONDS = 30.0


@asynccontextmanager
async def scoring(resources: Resources) -> AsyncIterator[asyncio.Event]:
    """Run the loop for the length of the block; it must end without an error."""
    stop = asyncio.Event()
    running = asyncio.create_task(jobs.score_lanes(resources, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running


async def until_scored(door: Door, agents: int, positions: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = await door.rows("SELECT position FROM score_cursors")
            if (len(rows), sum(row[0] for row in rows)) == (agents, positions):
                return
            await asyncio.sleep(0.02)


async def take(resources: Resources, owner: UUID, limit: int = LANES) -> list[int]:
    async with system_transaction(resources.database) as tx:
        return await claim.take_lanes(tx, resources.clock, owner, limit)


async def waiting(resources: Resources, **options: Any) -> list[Backlog]:
    async with system_transaction(resources.database) as tx:
        return await claim.list_backlog(tx, EVERY_LANE, **options)


# Lanes.


@pytest.mark.usefixtures("door")
async def test_a_lane_has_one_holder_until_its_lease_is_over(resources: Resources, clock: SetClock) -> None:
    one, other = uuid4(), uuid4()
    assert await take(resources, one, 40) == list(range(40))
    assert await take(resources, other) == list(range(40, 64))
    assert await take(resources, one, 40) == list(range(40))
    clock.move(claim.LEASE.total_seconds() - 1)
    assert await take(resources, other) == list(range(40, 64))
    clock.move(2)
    assert await take(resources, other) == EVERY_LANE
    assert await take(resources, one) == []


@pytest.mark.usefixtures("door")
async def test_lanes_given_back_are_free_at_once(resources: Resources) -> None:
    one, other = uuid4(), uuid4()
    await take(resources, one)
    async with system_transaction(resources.database) as tx:
        await claim.release_lanes(tx, one)
    assert await take(resources, other) == EVERY_LANE


@pytest.mark.usefixtures("door")
async def test_two_that_ask_at_once_never_get_the_same_lane(resources: Resources) -> None:
    taken = await asyncio.gather(*(take(resources, uuid4(), 20) for _ in range(6)))
    lanes = [lane for held in taken for lane in held]
    assert len(lanes) == len(set(lanes))


def test_a_lease_outlasts_several_renewals() -> None:
    assert timedelta(seconds=claim.RENEW_SECONDS) * 3 < claim.LEASE


async def test_everybody_has_a_turn_however_many_are_busy(
    door: Door, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(7):
        await Host(door.client, door.key, id=f"web-{n}").accepted([call()])
    monkeypatch.setattr(claim, "AGENTS_AT_ONCE", 3)
    agents = sorted(row[0] for row in await door.rows("SELECT agent_no FROM host_agents"))
    seen: list[int] = []
    after = 0
    while len(seen) < 14:
        turn = [work.agent_no for work in await waiting(resources, after=after)]
        seen += turn
        after = turn[-1]
    assert seen[:14] == agents * 2
    assert [w.agent_no for w in await waiting(resources, without=agents[:5])] == agents[5:]
    async with system_transaction(resources.database) as tx:
        lanes = [agents[0] % LANES]
        assert [w.agent_no for w in await claim.list_backlog(tx, lanes)] == agents[:1]
        assert await claim.list_backlog(tx, []) == []


# The loop.


async def test_what_comes_is_scored_and_the_lanes_are_given_back(
    door: Door, host: Host, resources: Resources
) -> None:
    async with scoring(resources):
        await host.accepted([call(seq=1), call(seq=2)])
        await until_scored(door, 1, 2)
        await host.accepted([call(seq=3)])
        await until_scored(door, 1, 3)
        assert (await door.rows("SELECT count(*) FROM score_lanes WHERE owner IS NOT NULL"))[0][0] == LANES
    assert (await door.rows("SELECT count(*) FROM score_lanes WHERE owner IS NOT NULL"))[0][0] == 0


async def test_two_loops_share_the_work_and_one_takes_over(door: Door, resources: Resources) -> None:
    async with scoring(resources) as stop, scoring(resources):
        for n in range(5):
            await Host(door.client, door.key, id=f"web-{n}").accepted([call()] * 3)
        await until_scored(door, 5, 15)
        stop.set()
        for n in range(5):
            await Host(door.client, door.key, id=f"web-{n}", sent=9).accepted([call("write")])
        await until_scored(door, 5, 20)


async def test_an_agent_whose_step_fails_waits_alone(
    door: Door, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        await Host(door.client, door.key, id=f"web-{n}").accepted([call()])
    (first, *_) = await waiting(resources)
    real = apply.apply_step
    healed = False

    async def fail(tx: Any, engines: Any, work: Backlog) -> int:
        if work.agent_no == first.agent_no and not healed:
            raise ValueError("poison")
        return await real(tx, engines, work)

    monkeypatch.setattr(apply, "apply_step", fail)
    monkeypatch.setattr(jobs, "FIRST_PAUSE_SECONDS", 0.01)
    async with scoring(resources):
        await until_scored(door, 3, 3)
        healed = True
        await until_scored(door, 4, 4)


async def test_a_missing_day_of_scores_is_made(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    async with scoring(resources):
        await host.accepted([call(seq=1)])
        await until_scored(door, 1, 1)
        await door.behind.execute("SELECT guardhouse_drop_day('scores', $1)", clock.now().date())
        await host.accepted([call(seq=2, pid=2)])
        await until_scored(door, 1, 2)


async def test_the_loop_keeps_its_lanes_when_its_connections_break(
    door: Door, host: Host, resources: Resources
) -> None:
    async with scoring(resources):
        await host.accepted([call(seq=1)])
        await until_scored(door, 1, 1)
        holders = await door.rows("SELECT DISTINCT owner FROM score_lanes")
        await door.behind.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename <> current_user"
        )
        answer = await host.send([call(seq=2)])
        while answer.status_code == 503:
            answer = await host.send([call(seq=2)])
        assert answer.status_code == 207
        await until_scored(door, 1, 2)
        assert await door.rows("SELECT DISTINCT owner FROM score_lanes") == holders


async def test_cancelling_the_loop_leaves_nothing_half(door: Door, host: Host, resources: Resources) -> None:
    await host.accepted([call(seq=n) for n in range(50)])
    running = asyncio.create_task(jobs.score_lanes(resources, asyncio.Event()))
    await asyncio.sleep(0)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    async with scoring(resources):
        await until_scored(door, 1, 50)


async def test_old_days_of_scores_go(door: Door, resources: Resources, clock: SetClock) -> None:
    old = clock.now().date() - timedelta(days=31)
    await door.behind.execute("SELECT guardhouse_create_day('scores', $1)", old)
    job = ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), "")
    await jobs.keep_partitions.run(JobContext(resources, job))
    days = await door.rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'scores'::regclass"
    )
    names = {row[0] for row in days}
    kept = {f"scores_p{clock.now().date() + timedelta(days=n):%Y%m%d}" for n in range(-8, 8)}
    assert f"scores_p{old:%Y%m%d}" not in names
    assert kept <= names, "other tests may have made days of their own"
