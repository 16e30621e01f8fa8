"""From a notice to the receiver, through the real loops: signed, tried again, dead, stopped, in order."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from standardwebhooks import Webhook

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks import jobs, lanes
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.components import receiver as receivers
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import Behaviour, Receiver, Turn, answer, receiving
from server.tests.webhooks import make


async def test_a_notice_arrives_signed_and_once(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    _, secret = await make.endpoint_and_secret(resources, tenant, receiver.url("/hook"))
    async with make.running(resources):
        await make.say(resources, tenant, 1, 2, 3)
        await make.until_states(resources, delivered=3)
    assert len(receiver.requests) == 3
    for request in receiver.requests:
        Webhook(secret).verify(request.body, request.headers)
        assert request.headers["x-event-type"] == "key.revoked"
        assert "guardhouse-replay" not in request.headers
    assert set(make.names(receiver)) == {"n1", "n2", "n3"}
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3


async def test_only_the_tenant_whose_notice_it_is_hears_of_it(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    other, _ = await add_tenant(resources, "umbrella")
    await make.endpoint(resources, tenant, receiver.url("/acme"))
    await make.endpoint(resources, other, receiver.url("/umbrella"))
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.say(resources, other, 2)
        await make.until_states(resources, delivered=2)
    assert {
        (request.path, name) for request, name in zip(receiver.requests, make.names(receiver), strict=True)
    } == {
        ("/acme", "n1"),
        ("/umbrella", "n2"),
    }


async def test_a_failure_is_tried_again_with_the_same_bytes_and_then_dead(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(500, b"no")
    hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(0.05, 0.05))
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, exhausted=1)
    assert len(receiver.requests) == 3
    assert (
        len({(r.headers["webhook-id"], r.headers["x-delivery-id"], r.body) for r in receiver.requests}) == 1
    )
    tries = await make.rows(
        resources, "SELECT number, outcome, status, answer FROM webhook_attempts ORDER BY number"
    )
    assert [tuple(row) for row in tries] == [(n, "rejected", 500, b"no") for n in (1, 2, 3)]
    (said,) = await make.rows(resources, "SELECT subject, data FROM notices WHERE kind = 'webhook.exhausted'")
    assert said["subject"] == f"webhook:{hook.id}"
    assert said["data"]["tries"] == 3


@pytest.mark.parametrize(
    ("behave", "outcome", "error"),
    [
        (answer(204), "delivered", None),
        (answer(299), "delivered", None),
        (answer(301, Location="http://127.0.0.1:1/"), "rejected", "redirect_refused"),
        (answer(304), "rejected", "redirect_refused"),
        (answer(400), "rejected", "HTTP 400"),
        (answer(418), "rejected", "HTTP 418"),
        (answer(503), "rejected", "HTTP 503"),
        (receivers.raw(b"garbage\r\n\r\n"), "unreachable", "protocol"),
        (receivers.raw(b""), "unreachable", "reset"),
        (receivers.reset, "unreachable", "reset"),
        (receivers.silence, "unreachable", "timeout"),
        (receivers.slow_headers, "unreachable", "timeout"),
        (receivers.slow_body, "unreachable", "timeout"),
        (receivers.endless_body, "delivered", None),
        (receivers.early_hints, "unreachable", "protocol"),  # a flood of 1xx answers
    ],
)
async def test_what_each_answer_counts_as(
    resources: Resources, tenant: TenantKey, receiver: Receiver, behave: Behaviour, outcome: str, error: str | None
) -> None:  # fmt: skip
    receiver.behave = behave
    await make.endpoint(resources, tenant, receiver.url(), timeout_ms=1000, preset="custom", steps=(3600,))
    async with make.running(resources):
        await make.say(resources, tenant, 1)

        async def tried() -> object:
            return await make.rows(resources, "SELECT FROM webhook_attempts")

        await make.eventually(tried)
    (row,) = await make.rows(resources, "SELECT outcome, error, length(answer) AS kept FROM webhook_attempts")
    assert (row["outcome"], row["error"]) == (outcome, error)
    assert row["kept"] <= 1000


async def test_an_address_that_is_no_longer_allowed_is_refused_at_the_send(
    database_url: str, tmp_path: Path, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(3600,))
    async with opened(database_url, tmp_path) as closed, make.running(closed):
        await make.say(resources, tenant, 1)

        async def tried() -> object:
            return await make.rows(resources, "SELECT FROM webhook_attempts")

        await make.eventually(tried)
    (row,) = await make.rows(resources, "SELECT outcome, error FROM webhook_attempts")
    assert (row["outcome"], row["error"].partition(":")[0]) == ("rejected", "address_refused")
    assert receiver.requests == []


async def test_410_stops_the_endpoint_for_good_and_tells_the_others(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(410)
    gone = await make.endpoint(resources, tenant, receiver.url("/gone"))
    async with receiving(answer(200)) as watch:
        await make.endpoint(resources, tenant, watch.url("/watch"), kinds=("webhook.*",))
        async with make.running(resources):
            await make.say(resources, tenant, 1)
            await watch.wait_for(1)
            await make.say(resources, tenant, 2)

            async def caught_up() -> bool:
                rows = await make.rows(
                    resources,
                    "SELECT (SELECT (epoch, txid, id) FROM notices ORDER BY 1 DESC LIMIT 1)"
                    " = (SELECT (epoch, txid, id) FROM notice_cursors WHERE reader = 'webhooks') AS done",
                )
                return bool(rows[0]["done"])

            await make.eventually(caught_up)
    assert len(receiver.requests) == 1
    (told,) = watch.requests
    assert json.loads(told.body)["data"] == {
        "endpoint_id": str(gone.id), "description": None, "reason": "gone",
    }  # fmt: skip
    (row,) = await make.rows(resources, "SELECT state, reason FROM webhook_endpoints WHERE id = $1", gone.id)
    assert tuple(row) == ("disabled", "gone")


async def test_retry_after_pauses_the_whole_endpoint_and_then_it_recovers(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock, egress_allow=make.OPEN_LOOPBACK) as resources:
        clock.instant = (await make.rows(resources, "SELECT now()"))[0][0]
        tenant, _ = await add_tenant(resources, "acme")
        receiver.behave = answer(429, Retry_After="100")
        await make.endpoint(resources, tenant, receiver.url(), concurrency=1)
        async with make.running(resources, turning_jobs.turn_notices, jobs.deliver):
            await make.say(resources, tenant, 1)
            await receiver.wait_for(1)

            async def state() -> str:
                (row,) = await make.rows(resources, "SELECT state, reason FROM webhook_endpoints")
                return f"{row['state']} {row['reason']}"

            async def throttled() -> bool:
                return await state() == "throttled retry_after"

            async def active() -> bool:
                return await state() == "active None"

            await make.eventually(throttled)
            receiver.behave = answer(200)
            await make.say(resources, tenant, 2)
            await make.until_states(resources, pending=2)
            await asyncio.sleep(1.5)
            assert len(receiver.requests) == 1
            clock.move(101)
            await make.until_states(resources, delivered=2)
            await make.eventually(active)
        kinds = await make.rows(resources, "SELECT kind FROM notices WHERE kind LIKE 'webhook.%' ORDER BY id")
        assert [row["kind"] for row in kinds] == ["webhook.endpoint_throttled", "webhook.endpoint_recovered"]


async def test_an_open_breaker_uses_up_no_tries(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock, egress_allow=make.OPEN_LOOPBACK) as resources:
        clock.instant = (await make.rows(resources, "SELECT now()"))[0][0]
        tenant, _ = await add_tenant(resources, "acme")
        receiver.behave = answer(500)
        await make.endpoint(
            resources, tenant, receiver.url(), concurrency=1, preset="custom", steps=(5,) * 15
        )
        async with make.running(resources):
            await make.say(resources, tenant, *range(30))

            async def opened_now() -> bool:
                (row,) = await make.rows(resources, "SELECT breaker->>'state' AS s FROM webhook_endpoints")
                return bool(row["s"] == "open")

            await make.eventually(opened_now)
            await make.until_states(resources, pending=30)
            await asyncio.sleep(1.5)
            assert len(receiver.requests) == 10
            receiver.behave = answer(200)
            clock.move(61)
            await make.until_states(resources, delivered=30)
        rows = await make.rows(resources, "SELECT max(tries) AS most FROM webhook_deliveries")
        assert rows[0]["most"] == 2


async def test_five_days_of_nothing_but_failures_end_in_disabled(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Through the dispatcher, sixteen hours a try: nothing is disabled at 112 hours, and all is at 128."""
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock, egress_allow=make.OPEN_LOOPBACK) as resources:
        clock.instant = (await make.rows(resources, "SELECT now()"))[0][0]
        tenant, _ = await add_tenant(resources, "acme")
        receiver.behave = answer(500)
        hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(46_800,) * 15)

        async def tried(times: int) -> tuple[str, str | None]:
            async def written() -> bool:
                (row,) = await make.rows(resources, "SELECT count(*) AS n FROM webhook_attempts")
                return bool(row["n"] == times)

            await make.eventually(written)
            (row,) = await make.rows(resources, "SELECT state, reason FROM webhook_endpoints")
            return row["state"], row["reason"]

        async with make.running(resources):
            await make.say(resources, tenant, 1)
            for times in range(1, 9):
                assert await tried(times) == ("active", None)
                clock.move(16 * 3600)
            assert await tried(9) == ("disabled", "failing")
            clock.move(16 * 3600)
            await make.say(resources, tenant, 2)
        assert len(receiver.requests) == 9
        told = await make.rows(resources, "SELECT data FROM notices WHERE kind = 'webhook.endpoint_disabled'")
        assert [(row["data"]["endpoint_id"], row["data"]["reason"]) for row in told] == [
            (str(hook.id), "failing")
        ]


async def test_an_endpoint_that_is_stopped_by_hand_is_sent_nothing_and_goes_on_later(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url())
    path = f"/api/v1/webhooks/{hook.id}"
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, delivered=1)
        await admin.post(f"{path}/disable")
        await make.say(resources, tenant, 2)
        await admin.post(f"{path}/enable")
        await make.say(resources, tenant, 3)
        await receiver.wait_for(2)
        await make.eventually(lambda: _delivered(resources, "n3"))
    assert "n2" not in make.names(receiver) or make.names(receiver).count("n2") == 1


async def _delivered(resources: Resources, name: str) -> bool:
    rows = await make.rows(
        resources,
        "SELECT FROM webhook_deliveries d JOIN webhook_messages m ON m.id = d.message_id"
        " WHERE d.state = 'delivered' AND convert_from(m.body, 'UTF8') LIKE $1",
        f'%"{name}"%',
    )
    return bool(rows)


async def test_a_rotated_secret_signs_the_next_try(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = make.failing("n1")
    hook, old = await make.endpoint_and_secret(resources, tenant, receiver.url(), preset="custom", steps=(2,))
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await receiver.wait_for(1)
        rotated = await admin.post(f"/api/v1/webhooks/{hook.id}/rotate-secret", json={"grace_seconds": 0})
        await make.until_states(resources, delivered=1)
    first, second = receiver.requests
    Webhook(old).verify(first.body, first.headers)
    Webhook(rotated.json()["secret"]).verify(second.body, second.headers)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_two_dispatchers_share_the_work_and_send_each_once(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    for _ in range(6):
        await make.endpoint(resources, tenant, receiver.url())
    async with make.running(resources, *[turning_jobs.turn_notices] * 2, *[jobs.deliver] * 2):
        await make.say(resources, tenant, *range(20))
        await make.until_states(resources, delivered=120)
    counts = Counter((r.headers["x-delivery-id"]) for r in receiver.requests)
    assert (len(counts), set(counts.values())) == (120, {1})


async def test_a_late_result_of_a_lost_lease_changes_nothing(
    resources: Resources, tenant: TenantKey, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispatcher that hangs on to a send beyond its lease: the other sends too, its own failure counts no more."""
    gate = asyncio.Event()

    async def first_waits(turn: Turn) -> None:
        if len(receiver.requests) == 1:
            await gate.wait()
            await answer(500)(turn)
        else:
            await turn.write(make.OK)

    receiver.behave = first_waits
    await make.endpoint(resources, tenant, receiver.url())
    late = jobs.Dispatcher(resources)
    await late._renew(anew=True)
    async with make.running(resources, turning_jobs.turn_notices):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, pending=1)
    late.hear_due("")
    await late._claim_some()
    late.pump()
    await receiver.wait_for(1)
    await make.rows(resources, "UPDATE webhook_lanes SET owner = NULL, lease_until = NULL")
    monkeypatch.setattr(lanes, "RENEW_SECONDS", 0.2)
    async with make.running(resources, jobs.deliver):
        await make.until_states(resources, delivered=1)
    gate.set()
    await asyncio.gather(*late.sending)
    await late.record_now()
    assert await make.states(resources) == {"delivered": 1}
    tries = await make.rows(resources, "SELECT outcome FROM webhook_attempts")
    assert [row["outcome"] for row in tries] == ["delivered"]
    late.lease_until = float("-inf")
    assert not await late._claim_some()
    assert len({r.headers["webhook-id"] for r in receiver.requests}) == 1


async def test_webhooks_about_webhooks_feed_no_loop(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(500)
    for _ in range(2):
        await make.endpoint(resources, tenant, receiver.url(), kinds=("*",), preset="custom", steps=(0.05,))
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, exhausted=4)
    said = await make.rows(resources, "SELECT data FROM notices WHERE kind = 'webhook.exhausted'")
    assert {row["data"]["message_kind"] for row in said} == {"key.revoked"}
    assert len(said) == 2


async def test_a_message_to_a_subject_keeps_its_legacy_name(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url(), kinds=("detection_complete", "key.*"))
    assert hook.kinds == ("detection_complete", "key.*")
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, delivered=1)
    assert receiver.requests[0].headers["x-event-type"] == "key.revoked"
    assert UUID(receiver.requests[0].headers["x-delivery-id"]).version == 7
