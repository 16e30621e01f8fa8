import asyncio
from datetime import UTC, datetime

from guardhouse.agents import host_status, positions
from guardhouse.agents.enroll_host import get_host
from guardhouse.agents.store import Stream
from guardhouse.audit.record import Actor
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.identity.store import Tenant
from server.tests.identity import make

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def take(resources: Resources, tenant: Tenant, count: int, *, create: bool = True) -> int | None:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        agent = await positions.lock_agent(
            tx, resources, tenant.key, "web-1", create_as=Actor(tenant.id, "key:1") if create else None
        )
        if agent is None:
            return None
        await asyncio.sleep(0)
        await positions.advance(tx, agent, count, NOW, None)
        return agent.next_position


async def test_positions_have_no_gap_and_no_overlap(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    counts = [1, 7, 3, 5, 2, 9, 4, 6]
    starts = await asyncio.gather(*(take(resources, tenant, count) for count in counts))
    taken = [
        place
        for start, count in zip(starts, counts, strict=True)
        for place in range(start or 0, (start or 0) + count)
    ]
    assert sorted(taken) == list(range(1, sum(counts) + 1))


async def test_an_unknown_agent_is_made_only_where_that_is_wanted(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    assert await take(resources, tenant, 1, create=False) is None
    assert await take(resources, tenant, 1) == 1
    other = await make.tenant(resources, "other")
    assert await take(resources, other, 1, create=False) is None
    assert await take(resources, other, 1) == 1


async def test_a_block_that_is_rolled_back_is_taken_again(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    await take(resources, tenant, 3)
    try:
        async with tenant_transaction(resources.database, tenant.key) as tx:
            agent = await positions.lock_agent(tx, resources, tenant.key, "web-1", create_as=None)
            assert agent is not None
            await positions.advance(tx, agent, 5, NOW, None)
            raise RuntimeError  # noqa: TRY301 - the block is the transaction
    except RuntimeError:
        pass
    assert await take(resources, tenant, 1) == 4


async def test_a_stream_knows_its_span_and_what_is_missing(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    for low, high, received in [(10, 19, 10), (30, 39, 10), (5, 9, 5)]:
        async with tenant_transaction(resources.database, tenant.key) as tx:
            agent = await positions.lock_agent(
                tx, resources, tenant.key, "web-1", create_as=Actor(tenant.id, "key:1")
            )
            assert agent is not None
            seen = Stream("s", "b", None, low, high, received, seq_reused=False)
            await positions.note_stream(tx, tenant.key, agent, seen)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        host = await get_host(tx, tenant.key, "web-1")
        (stream,) = (await host_status.streams_of(tx, [host]))[host.no]
        assert (stream.low_seq, stream.high_seq, stream.received, stream.missing) == (5, 39, 25, 10)
        assert (stream.boot_id, stream.alphabet, stream.seq_reused) == ("b", None, False)
        agent = await positions.lock_agent(tx, resources, tenant.key, "web-1", create_as=None)
        assert agent is not None
        assert await positions.get_high_seq(tx, agent, "s") == 39
        assert await positions.get_high_seq(tx, agent, "other") is None
        await positions.note_stream(
            tx, tenant.key, agent, Stream("s", None, "a", 5, 39, 11, seq_reused=False)
        )
        (stream,) = (await host_status.streams_of(tx, [host]))[host.no]
        assert (stream.boot_id, stream.alphabet, stream.missing, stream.seq_reused) == ("b", "a", 0, True)
