import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.jobs import (
    Backoff,
    ClaimedJob,
    GiveUp,
    JobContext,
    Priority,
    When,
    enqueue,
    enqueue_all,
    every,
    job,
)
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction

ACME = TenantKey(uuid4(), 7)
seen: list[object] = []


@dataclass(frozen=True)
class Greeting:
    name: str
    times: int = 1


@job("test.greet")
async def greet(context: JobContext, payload: Greeting) -> None:
    seen.append((context.attempt, payload))


@every(5, "test.sweep")
async def sweep(_context: JobContext) -> None:
    seen.append("swept")


def claimed(resources: Resources, payload: str) -> JobContext:
    run_at = datetime(2026, 1, 1, tzinfo=UTC)
    return JobContext(
        resources, ClaimedJob(1, "test.greet", payload, None, "platform", 3, 0, run_at, "req-1")
    )


async def count_jobs(resources: Resources) -> int:
    async with system_transaction(resources.database) as tx:
        return int(await tx.fetch_value("SELECT count(*) FROM jobs"))


class _Undo(Exception):  # noqa: N818 - a test's own
    pass


async def test_a_job_commits_with_the_callers_transaction(resources: Resources) -> None:
    async def fail_after_enqueue() -> None:
        async with system_transaction(resources.database) as tx:
            await enqueue(tx, greet, Greeting("nobody"))
            raise _Undo

    with pytest.raises(_Undo):
        await fail_after_enqueue()
    assert await count_jobs(resources) == 0
    async with system_transaction(resources.database) as tx:
        assert await enqueue(tx, greet, Greeting("all")) is not None
    assert await count_jobs(resources) == 1


async def test_the_handler_gets_its_payload_typed(resources: Resources) -> None:
    seen.clear()
    await greet.run(claimed(resources, '{"name": "Ada", "times": 2}'))
    assert seen == [(3, Greeting("Ada", 2))]


async def test_a_payload_of_another_shape_is_given_up_at_once(resources: Resources) -> None:
    with pytest.raises(GiveUp, match=r"payload: .*name"):
        await greet.run(claimed(resources, '{"surname": "Ada"}'))


async def test_a_schedule_is_a_job_without_payload(resources: Resources) -> None:
    seen.clear()
    await sweep.run(claimed(resources, "null"))
    assert seen == ["swept"]
    assert sweep.every_seconds == 5


async def test_a_unique_key_adds_nothing_while_one_waits(resources: Resources) -> None:
    when = When(unique_key="once")
    async with system_transaction(resources.database) as tx:
        assert await enqueue(tx, greet, Greeting("a"), when=when) is not None
        assert await enqueue(tx, greet, Greeting("b"), when=when) is None
        assert await enqueue(tx, greet, Greeting("b"), tenant=ACME, when=when) is not None


async def test_a_tenants_job_is_its_own(resources: Resources) -> None:
    async with tenant_transaction(resources.database, ACME) as tx:
        await enqueue(tx, greet, Greeting("a"))
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT tenant_id, tenant_no, fairness_key FROM jobs")
    assert row is not None
    assert tuple(row) == (ACME.id, 7, str(ACME.id))


async def test_a_tenant_sees_no_job_of_another(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, greet, Greeting("a"), tenant=TenantKey(uuid4(), 8))
    async with tenant_transaction(resources.database, ACME) as tx:
        assert await tx.fetch("SELECT id FROM jobs") == []


async def test_the_database_refuses_a_job_in_anothers_name(resources: Resources) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant_transaction(resources.database, ACME) as tx:
            await tx.run(
                "INSERT INTO jobs (name, payload, tenant_id, fairness_key, priority, state, correlation_id)"
                " VALUES ('x', 'null', $1, 'x', 1, 'ready', '')",
                uuid4(),
            )


async def test_one_wake_up_per_transaction_and_none_for_later_jobs(resources: Resources) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(resources.database.driver_url)
    await listener.add_listener("jobs", lambda *got: heard.put_nowait(str(got[-1])))
    async with system_transaction(resources.database) as tx:
        await enqueue(tx, greet, Greeting("tomorrow"), when=When(run_at=datetime(2027, 1, 1, tzinfo=UTC)))
    async with system_transaction(resources.database) as tx:
        await enqueue_all(tx, greet, [Greeting("a"), Greeting("b")])
        await enqueue(tx, greet, Greeting("c"), when=When(priority=Priority.URGENT))
    async with system_transaction(resources.database) as tx:
        await tx.run("SELECT pg_notify('jobs', 'end')")
    assert [await asyncio.wait_for(heard.get(), 10) for _ in range(2)] == ["", "end"]
    await listener.close()


def test_pauses_grow_to_a_bound_and_are_repeatable() -> None:
    backoff = Backoff(first_seconds=2, longest_seconds=60)
    pauses = [backoff.seconds(17, failure) for failure in range(1, 12)]
    for failure, pause in enumerate(pauses, start=1):
        nominal = min(2 * 2 ** (failure - 1), 60)
        assert 0.8 * nominal <= pause <= 1.2 * nominal
    assert pauses == [backoff.seconds(17, failure) for failure in range(1, 12)]
    assert pauses != [backoff.seconds(18, failure) for failure in range(1, 12)]
    assert backoff.seconds(1, 5000) <= 72
