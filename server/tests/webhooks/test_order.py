"""Order per subject, concurrency, pace, and who holds up whom."""

import asyncio

import httpx

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks import jobs
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.components import receiver as receivers
from server.tests.components.receiver import Receiver, Turn, receiving
from server.tests.webhooks import make

HOOKS = "/api/v1/webhooks"


async def test_order_is_kept_per_subject_and_a_failure_holds_its_own_back_alone(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = make.failing("n1", "n4", times=2)
    await make.endpoint(resources, tenant, receiver.url(), fifo=True, preset="custom", steps=(1, 1, 1))
    async with make.running(resources):
        await make.say(resources, tenant, 1, 2, 3, 4, 5, subject=1)
        await make.say(resources, tenant, *range(10, 20), subject=2)
        await make.until_states(resources, delivered=15)
    first = [name for name in make.names(receiver) if len(name) == 2]
    assert first == ["n1", "n1", "n1", "n2", "n3", "n4", "n4", "n4", "n5"]
    other = [name for name in make.names(receiver) if len(name) == 3]
    assert other == [f"n{n}" for n in range(10, 20)]
    assert make.names(receiver).index("n19") < make.names(receiver).index("n2")


async def test_a_dead_letter_lets_the_next_of_its_subject_go(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = make.failing("n1", times=9)
    await make.endpoint(resources, tenant, receiver.url(), fifo=True, preset="custom", steps=(0.05,))
    async with make.running(resources):
        await make.say(resources, tenant, 1, 2)
        await make.until_states(resources, exhausted=1, delivered=1)
    assert make.names(receiver) == ["n1", "n1", "n2"]


async def test_never_more_at_once_than_its_concurrency(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    busy, most = 0, 0

    async def slowly(turn: Turn) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.02)
        busy -= 1
        await turn.write(make.OK)

    receiver.behave = slowly
    await make.endpoint(resources, tenant, receiver.url(), concurrency=3)
    async with make.running(resources):
        await make.say(resources, tenant, *range(40))
        await make.until_states(resources, delivered=40)
    assert most == 3


async def test_a_pace_spaces_the_sends(resources: Resources, tenant: TenantKey, receiver: Receiver) -> None:
    await make.endpoint(resources, tenant, receiver.url(), rate_per_second=5.0)
    async with make.running(resources):
        began = asyncio.get_running_loop().time()
        await make.say(resources, tenant, *range(6))
        await make.until_states(resources, delivered=6)
    assert asyncio.get_running_loop().time() - began >= 1.0  # five gaps of 0.2 s: never faster


async def test_one_black_hole_does_not_hold_up_the_others(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    async with receiving(receivers.silence) as hole:
        await make.endpoint(resources, tenant, hole.url())
        await make.endpoint(resources, tenant, receiver.url())
        async with make.running(resources):
            await make.say(resources, tenant, *range(30))
            await receiver.wait_for(30)
            assert len(hole.requests) <= 8


async def test_order_can_be_asked_for_and_given_up_while_deliveries_wait(
    resources: Resources, tenant: TenantKey, admin: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.behave = make.failing("n1", "n11", times=2)
    hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(1.0, 1.0))
    async with make.running(resources, turning_jobs.turn_notices):
        await make.say(resources, tenant, 1, 2, 3)
        await make.until_states(resources, pending=3)
        assert (await admin.patch(f"{HOOKS}/{hook.id}", json={"fifo": True})).status_code == 200
        await make.say(resources, tenant, 4)
        await make.until_states(resources, pending=4)
    due = "SELECT count(*) AS n FROM webhook_deliveries WHERE next_at IS NOT NULL AND state = 'pending'"
    assert (await make.rows(resources, due))[0]["n"] == 1, "the first of the subject alone"
    async with make.running(resources, jobs.deliver):
        await make.until_states(resources, delivered=4)
    assert make.names(receiver) == ["n1", "n1", "n1", "n2", "n3", "n4"]
    async with make.running(resources, turning_jobs.turn_notices):
        await make.say(resources, tenant, 11, 12, 13)
        await make.until_states(resources, delivered=4, pending=3)
    assert (await admin.patch(f"{HOOKS}/{hook.id}", json={"fifo": False})).status_code == 200
    assert (await make.rows(resources, due))[0]["n"] == 3, "nobody waits for another"
    async with make.running(resources, jobs.deliver):
        await make.until_states(resources, delivered=7)
