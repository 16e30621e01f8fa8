"""What a dispatcher holds in memory: lines, wake-ups, hand-overs and ceilings."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest_asyncio

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.webhooks import delivery_store, handover
from guardhouse.webhooks.delivery_store import Due, Want
from guardhouse.webhooks.dispatch import READ_AHEAD, TENANT_AT_ONCE, Board, Outlet
from guardhouse.webhooks.jobs import Dispatcher
from guardhouse.webhooks.send import Unreachable
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.components.postgres import Clone
from server.tests.components.receiver import Receiver
from server.tests.webhooks import make

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MULTIPLY = """
INSERT INTO webhook_deliveries (id, message_at, tenant_id, endpoint_id, message_id, replay, kind, subject, bulk,
                                ordered, state, attempt, tries, next_at, created_at)
SELECT gen_random_uuid(), message_at, tenant_id, endpoint_id, message_id, n, kind, subject, false, false,
       'pending', 0, 0, next_at, created_at
FROM webhook_deliveries CROSS JOIN generate_series(1, $1) AS n
"""
READ = """
SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_all_tables WHERE relname LIKE 'webhook_deliveries_p%'
"""


def due(endpoint: Endpoint) -> Due:
    """Return a delivery of an endpoint as it is claimed."""
    return Due(
        id=new_id(), message_at=NOW, tenant_id=endpoint.tenant_id, endpoint_id=endpoint.id, message_id=new_id(),
        replay=0, bulk=False, ordered=False, subject="key:1", kind="key.revoked", attempt=0, tries=0,
        format="standard", event_type="key.revoked", severity="info", correlation_id="", body=b"{}",
        version=endpoint.version,
    )  # fmt: skip


@pytest_asyncio.fixture
async def dispatcher(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> AsyncIterator[Dispatcher]:
    """Return one that holds one endpoint and has looked once."""
    await make.endpoint(resources, tenant, receiver.url())
    made = Dispatcher(resources)
    await made._renew(anew=True)
    assert not await made._claim_some()
    assert not made.board.hot
    yield made
    await asyncio.gather(*made.sending)


def only(dispatcher: Dispatcher) -> Outlet:
    """Return the one endpoint."""
    (found,) = dispatcher.board.outlets.values()
    return found


def test_a_wake_up_during_a_claim_is_kept(dispatcher: Dispatcher) -> None:
    board, outlet = dispatcher.board, only(dispatcher)
    dispatcher.hear_due(str(outlet.endpoint.id))
    wants = board.wants(NOW)
    assert {want.bulk for want in wants} == {False, True}
    assert not board.hot
    dispatcher.hear_due(str(outlet.endpoint.id))  # committed after the claim's snapshot
    board.take(wants, [])
    assert board.hot == {(outlet.endpoint.id, False), (outlet.endpoint.id, True)}


def test_a_line_without_room_is_read_on_when_there_is_some(dispatcher: Dispatcher) -> None:
    board, outlet = dispatcher.board, only(dispatcher)
    board.look_at([outlet.endpoint.id])
    wants = board.wants(NOW)
    room = next(want.room for want in wants if not want.bulk)
    assert room == READ_AHEAD * outlet.endpoint.concurrency
    board.take(wants, [due(outlet.endpoint) for _ in range(room)])
    assert board.hot == {(outlet.endpoint.id, False)}
    assert board.wants(NOW) == []
    assert board.hot == {(outlet.endpoint.id, False)}
    going, _ = board.starts(NOW, 0.0)
    for ours, one in going:
        board.end(ours, one)
    assert [want.room for want in board.wants(NOW)] == [outlet.endpoint.concurrency]


def test_what_is_recorded_during_a_reading_is_not_sent_again(dispatcher: Dispatcher) -> None:
    board, outlet = dispatcher.board, only(dispatcher)
    one = due(outlet.endpoint)
    earlier = board.begin_reading()
    board.take_made(earlier, [one], NOW)
    reading = board.begin_reading()  # its snapshot still has it pending
    board.end_reading(earlier)
    ((ours, sent),) = board.starts(NOW, 0.0)[0]
    board.end(ours, sent)
    board.let_go(ours, sent.id)
    board.take([], [one])
    assert board.starts(NOW, 0.0) == ([], None)
    later = board.begin_reading()
    board.end_reading(reading)
    assert not outlet.held, "a reading that began after the record cannot bring it back"
    board.end_reading(later)


def test_a_hand_over_is_left_to_a_claim_when_it_would_pass_something_by(dispatcher: Dispatcher) -> None:
    board, outlet = dispatcher.board, only(dispatcher)
    lines = {(outlet.endpoint.id, False)}
    reading = board.begin_reading()
    board.take_made(reading, [replace(due(outlet.endpoint), version=outlet.endpoint.version + 1)], NOW)
    assert (board.hot, len(outlet.live)) == (lines, 0), "settings this dispatcher does not know yet"
    board.take_made(reading, [due(outlet.endpoint)], NOW)
    assert (board.hot, len(outlet.live)) == (lines, 0), "earlier ones are not read yet"
    board.hot.clear()
    for _ in range(10):
        outlet.condition.take_in(Unreachable("connect", 1.0, None, ""), NOW)
    board.take_made(reading, [due(outlet.endpoint)], NOW)
    assert (board.hot, len(outlet.live)) == (lines, 0), "the breaker is open"
    board.hot.clear()
    other = replace(outlet.endpoint, id=new_id())
    board.put(other, outlet.destination)
    board.hot.clear()
    board.take_made(reading, [due(other)], NOW)
    assert board.hot == {(other.id, False)}, "who sent for it when the reading began is not known"


class Counting(Board):
    """A board that counts how often it is asked what may go."""

    asked = 0

    def starts(self, now: datetime, monotonic: float) -> tuple[list[tuple[Outlet, Due]], float | None]:
        self.asked += 1
        return super().starts(now, monotonic)


async def test_a_pace_is_waited_for_once_however_often_something_else_is_sent(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    """A timer for each look at the board would come due with all others, and make as many again."""
    await make.endpoint(resources, tenant, receiver.url(), rate_per_second=20.0)
    dispatcher = Dispatcher(resources, board=Counting())
    await dispatcher._renew(anew=True)
    outlet = only(dispatcher)
    dispatcher.board.take([], [due(outlet.endpoint) for _ in range(4)])
    for _ in range(500):
        dispatcher.pump()
    await receiver.wait_for(4)
    assert isinstance(dispatcher.board, Counting)
    assert dispatcher.board.asked < 600
    await asyncio.gather(*dispatcher.sending)


async def test_a_claim_reads_what_it_takes_and_not_all_that_is_pending(
    resources: Resources, database: Clone, tenant: TenantKey, receiver: Receiver
) -> None:
    """With the plan that serves any endpoint: it expects a handful where there are thousands."""
    hook = await make.endpoint(resources, tenant, receiver.url())
    async with make.running(resources, turning_jobs.turn_notices):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, pending=1)
    async with system_transaction(resources.database) as tx:
        await tx.run(MULTIPLY, 5000)
    superuser = await asyncpg.connect(database.superuser_url)
    await superuser.execute("ANALYZE webhook_deliveries")
    await superuser.close()
    async with system_transaction(resources.database) as tx:
        await tx.run("SET LOCAL plan_cache_mode = force_generic_plan")
        (row,) = await tx.fetch("SELECT now() AS now")
        days = (row["now"] - timedelta(days=1), row["now"] + timedelta(days=1))
        found = await delivery_store.claim(tx, [Want(hook.id, bulk=False, room=8)], [], days[1], days)
        read = await tx.fetch_value(READ)
    assert len(found) == 8
    assert read < 100


async def test_what_fan_out_makes_is_sent_without_being_claimed(
    resources: Resources, tenant: TenantKey, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    end = handover.register(resources, dispatcher.offer)
    async with make.running(resources, turning_jobs.turn_notices):
        await make.say(resources, tenant, 1, 2, 3)
        await receiver.wait_for(3)
    end()
    await asyncio.gather(*dispatcher.sending)
    await dispatcher.record_now()
    assert await make.states(resources) == {"delivered": 3}
    assert not only(dispatcher).held
    dispatcher.hear_due("")
    assert not await dispatcher._claim_some()


async def test_beyond_its_lease_a_dispatcher_takes_nothing_over(dispatcher: Dispatcher) -> None:
    outlet = only(dispatcher)
    with dispatcher.offer() as offer:
        assert offer.ids == {outlet.endpoint.id}
    dispatcher.lease_until = float("-inf")
    with dispatcher.offer() as offer:
        assert not offer.ids
        offer.give([due(outlet.endpoint)])
    assert (len(outlet.live), dispatcher.sending) == (0, set())


def test_a_tenant_has_256_sends_at_once_and_another_has_its_own(dispatcher: Dispatcher) -> None:
    board, outlet = dispatcher.board, only(dispatcher)
    crowd = [replace(outlet.endpoint, id=new_id(), concurrency=64) for _ in range(6)]
    other = replace(outlet.endpoint, id=new_id(), tenant_id=UUID(int=9), concurrency=64)
    for endpoint in (*crowd, other):
        board.put(endpoint, outlet.destination)
    reading = board.begin_reading()
    board.hot.clear()
    board.take_made(reading, [due(endpoint) for endpoint in (*crowd, other) for _ in range(64)], NOW)
    going, _ = board.starts(NOW, 0.0)
    tenants = [ours.endpoint.tenant_id for ours, _ in going]
    assert tenants.count(outlet.endpoint.tenant_id) == TENANT_AT_ONCE
    assert tenants.count(UUID(int=9)) == 64
    board.end(*going[0])
    assert len(board.starts(NOW, 0.0)[0]) == 1
