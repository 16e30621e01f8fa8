import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from guardhouse.foundation import correlation
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import DatabaseAway, TenantKey
from guardhouse.foundation.jobs import Backoff, GiveUp, JobContext, Retry, enqueue, enqueue_all, job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components.opened import opened
from server.tests.worker import victim
from server.tests.worker.make import PATIENCE_SECONDS, eventually, jobs_by_state, working

seen: list[Any] = []
begun = asyncio.Event()


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()
    begun.clear()


@job("test.note")
async def note(context: JobContext, payload: int) -> None:
    seen.append((payload, context.tenant, correlation.current()))


@job("test.later")
async def later(context: JobContext, _payload: int) -> None:
    seen.append(context.attempt)
    if context.attempt < 3:
        raise Retry(60, "not yet")


@job("test.hopeless")
async def hopeless(_context: JobContext, _payload: int) -> None:
    raise GiveUp("there is no such thing")


@job("test.buggy", retry=Backoff(failures=3, first_seconds=10))
async def buggy(context: JobContext, _payload: int) -> None:
    seen.append(context.job.failures)
    raise ZeroDivisionError("oh")


@job("test.offline", retry=Backoff(failures=1, first_seconds=10))
async def offline(context: JobContext, _payload: int) -> None:
    seen.append(context.job.failures)
    if context.attempt == 1:
        raise DatabaseAway("gone")


@job("test.endless")
async def endless(_context: JobContext, _payload: int) -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


async def put(resources: Resources, of: Any, *payloads: int) -> None:
    async with system_transaction(resources.database) as tx:
        await enqueue_all(tx, of, payloads)


async def row(resources: Resources) -> dict[str, Any]:
    async with system_transaction(resources.database) as tx:
        found = await tx.fetch_row("SELECT state, reason, failures, attempt FROM jobs")
    return {} if found is None else dict(found)


async def test_jobs_run_and_leave_nothing(resources: Resources) -> None:
    await put(resources, note, *range(500))
    async with working(resources, note):
        await put(resources, note, *range(500, 1000))

        async def all_done() -> bool:
            return await jobs_by_state(resources) == {}

        await eventually(all_done)
    assert sorted(payload for payload, *_ in seen) == list(range(1000))


async def test_a_job_knows_its_tenant_and_the_request_that_caused_it(resources: Resources) -> None:
    acme = TenantKey(uuid4(), 3)
    correlation.begin("req-original")
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, note, 1, tenant=acme)
    correlation.begin("req-another")
    async with working(resources, note):
        await eventually(lambda: _holds(seen))
    assert seen == [(1, acme, "req-original")]


async def test_retry_waits_as_long_as_told_and_is_no_failure(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources:
        await put(resources, later, 1)
        async with working(resources, later):
            for attempt in (1, 2):
                await eventually(partial(_waits, resources, attempt))
                assert await row(resources) == {
                    "state": "waiting",
                    "reason": "not yet",
                    "failures": 0,
                    "attempt": attempt,
                }
                clock.move(61)
            await eventually(lambda: _gone(resources))
    assert seen == [1, 2, 3]


async def test_give_up_is_a_dead_letter_with_its_reason(resources: Resources) -> None:
    await put(resources, hopeless, 1)
    async with working(resources, hopeless):
        await eventually(lambda: _dead(resources))
    assert (await row(resources))["reason"] == "there is no such thing"


async def test_a_bug_is_tried_again_with_pauses_then_dead(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources:
        await put(resources, buggy, 1)
        async with working(resources, buggy):
            for attempt in (1, 2):
                await eventually(partial(_waits, resources, attempt))
                clock.move(30)
            await eventually(lambda: _dead(resources))
        assert await row(resources) == {
            "state": "dead",
            "reason": "ZeroDivisionError: oh",
            "failures": 3,
            "attempt": 3,
        }
    assert seen == [0, 1, 2]


async def test_a_database_that_was_away_is_no_fault_of_the_job(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources:
        await put(resources, offline, 1)
        async with working(resources, offline):
            await eventually(lambda: _waits(resources, 1))
            clock.move(30)
            await eventually(lambda: _gone(resources))
    assert seen == [0, 0]


async def test_stopping_hands_unfinished_work_back(resources: Resources) -> None:
    await put(resources, endless, *range(10))
    async with working(resources, endless):
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
    assert seen == ["cancelled"] * 4
    assert await jobs_by_state(resources) == {"ready": 10}


async def test_a_handler_whose_lease_was_lost_is_cancelled_and_the_worker_goes_on(
    resources: Resources,
) -> None:
    await put(resources, endless, 1)
    async with working(resources, endless, note):
        await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
        async with system_transaction(resources.database) as tx:
            await tx.run("UPDATE jobs SET attempt = attempt + 1")  # as if another worker had it
        await eventually(lambda: _holds(seen))
        assert seen == ["cancelled"]
        await put(resources, note, *range(8))
        await eventually(lambda: _holds(seen[8:]))
    assert await jobs_by_state(resources) == {"running": 1}


async def test_another_worker_completes_what_a_killed_one_had_begun(
    database_url: str, tmp_path: Path
) -> None:
    mark = tmp_path / "begun"
    async with opened(database_url, tmp_path) as resources:
        async with system_transaction(resources.database) as tx:
            await enqueue(tx, victim.write, str(mark))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            victim.__file__,
            database_url,
            str(tmp_path),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            await eventually(lambda: asyncio.to_thread(mark.exists))
        finally:
            process.kill()
            await process.wait()
        assert await jobs_by_state(resources) == {"running": 1}
        async with working(resources, victim.write):
            await eventually(lambda: _gone(resources))
    assert await asyncio.to_thread(mark.read_text) == "12"


async def _holds(value: object) -> bool:
    return bool(value)


async def _waits(resources: Resources, attempt: int) -> bool:
    found = await row(resources)
    return (found["state"], found["attempt"]) == ("waiting", attempt)


async def _dead(resources: Resources) -> bool:
    return await jobs_by_state(resources) == {"dead": 1}


async def _gone(resources: Resources) -> bool:
    return await jobs_by_state(resources) == {}
