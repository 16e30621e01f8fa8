import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from guardhouse.audit import check, verify
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import MasterKey
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.audit_log import jobs
from guardhouse.identity.store import Tenant
from guardhouse.worker.engine import Engine, Pace
from guardhouse.worker.health import Health
from server.tests.audit.make import Owner, fill, owner_of, verified
from server.tests.identity import make


@pytest.fixture
async def acme(resources: Resources) -> Tenant:
    tenant = await make.tenant(resources)
    await fill(resources, tenant, 5)
    return tenant


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator[Owner]:
    async with owner_of(owner_url) as found:
        yield found


async def run(resources: Resources) -> None:
    """Run the daily check as a worker does."""
    job = jobs.check_audit_logs
    claimed = ClaimedJob(1, job.name, "null", None, "platform", 1, 0, resources.clock.now(), "")
    await job.run(JobContext(resources, claimed))


async def told(resources: Resources) -> list[tuple[int, str]]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT (data->>'seq')::int AS seq, data->>'fault' AS fault, severity FROM notices"
            " WHERE kind = 'audit.chain_broken' ORDER BY id"
        )
    assert all(row["severity"] == "critical" for row in rows)
    return [(row["seq"], row["fault"]) for row in rows]


async def metric(resources: Resources) -> float | None:
    """Return the gauge as the worker's door shows it."""
    stop = asyncio.Event()
    await Health(resources, stop, Engine(resources, worker(), {}, Pace())).metrics()
    return REGISTRY.get_sample_value("guardhouse_audit_chain_ok")


def worker() -> UUID:
    return UUID(int=1)


async def test_what_holds_is_signed_each_day(resources: Resources, acme: Tenant) -> None:
    other = await make.tenant(resources, "other")
    await fill(resources, other, 2)
    await run(resources)
    await run(resources)  # nothing new: nothing to sign
    await fill(resources, acme, 1)
    await run(resources)
    async with system_transaction(resources.database) as tx:
        signed = await tx.fetch("SELECT tenant_id, seq FROM audit_signed_heads ORDER BY tenant_id, seq")
    assert {(row["tenant_id"], row["seq"]) for row in signed} == {(acme.id, 5), (acme.id, 6), (other.id, 2)}
    assert (await verified(resources, acme)).signed_heads == 2
    assert await told(resources) == []
    assert await metric(resources) == 1


@pytest.mark.usefixtures("acme")
async def test_a_break_is_told_once_and_nothing_more_is_signed(resources: Resources, owner: Owner) -> None:
    await owner.run("UPDATE audit_log SET actor = 'me' WHERE seq = 3")
    await run(resources)
    await run(resources)
    assert await told(resources) == [(3, "altered")]
    assert await metric(resources) == 0
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM audit_signed_heads") == 0
    await owner.run("UPDATE audit_log SET actor = 'me' WHERE seq = 2")
    await run(resources)
    assert await told(resources) == [(3, "altered"), (2, "altered")]
    await owner.run("UPDATE audit_log SET actor = 'key:1'")
    await run(resources)
    assert await metric(resources) == 1
    assert len(await told(resources)) == 2


@pytest.mark.usefixtures("acme")
async def test_a_log_that_is_gone_altogether_is_missed(resources: Resources, owner: Owner) -> None:
    await run(resources)
    await owner.run("DELETE FROM audit_log", "DELETE FROM audit_heads")
    await run(resources)
    assert await told(resources) == [(1, "missing")]


async def test_entries_written_meanwhile_are_no_break(
    resources: Resources, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "STEP", 1)
    await asyncio.gather(run(resources), fill(resources, acme, 20))
    await run(resources)
    assert await told(resources) == []
    async with system_transaction(resources.database) as tx:
        assert await check.count_broken(tx) == 0


async def test_signed_heads_outlive_a_rotation_of_the_master_key(resources: Resources, acme: Tenant) -> None:
    old, new = resources.master_key.generations[0], bytes(range(1, 33))
    await run(resources)
    object.__setattr__(resources, "master_key", MasterKey((new, old)))
    await run(resources)
    object.__setattr__(resources, "master_key", MasterKey((new,)))
    walk = await verified(resources, acme)
    assert (walk.broken, walk.signed_heads) == (None, 1)
    object.__setattr__(resources, "master_key", MasterKey((bytes(32),)))
    broken = (await verified(resources, acme)).broken
    assert broken is not None
    assert broken.fault == "signature_invalid"
