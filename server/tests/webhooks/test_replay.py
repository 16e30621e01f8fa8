"""Replays of each mode, with progress and cancel; dead letters, retry and discard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks import jobs, replay
from server.tests.components.opened import add_tenant
from server.tests.components.receiver import Receiver, answer
from server.tests.webhooks import make
from server.tests.worker.make import working

HOOKS = "/api/v1/webhooks"


@asynccontextmanager
async def everything(resources: Resources) -> AsyncIterator[None]:
    """Run the loops and a worker for replays."""
    async with make.running(resources), working(resources, jobs.run_replay):
        yield


def last_hour(resources: Resources, **more: Any) -> dict[str, Any]:
    return {"since": rfc3339(resources.clock.now() - timedelta(hours=1))} | more


async def asked(admin: httpx.AsyncClient, hook: object, body: dict[str, Any]) -> dict[str, Any]:
    made = await admin.post(f"{HOOKS}/{hook}/replay", json=body)
    assert made.status_code == 202, made.text
    assert made.headers["location"] == f"{HOOKS}/replays/{made.json()['id']}"
    found: dict[str, Any] = made.json()
    return found


async def finished(admin: httpx.AsyncClient, found: dict[str, Any]) -> dict[str, Any]:
    """Wait until a replay and its deliveries are over."""
    async with asyncio.timeout(make.PATIENCE_SECONDS):
        while True:
            shown: dict[str, Any] = (await admin.get(f"{HOOKS}/replays/{found['id']}")).json()
            if shown["state"] != "running" and not shown["pending"]:
                return shown
            await asyncio.sleep(0.05)


def ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


async def test_a_range_is_sent_again_with_the_same_ids_and_bytes(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(replay, "STEP", 3)
    hook = await make.endpoint(resources, tenant, receiver.url())
    async with everything(resources):
        await make.say(resources, tenant, *range(10))
        await make.until_states(resources, delivered=10)
        first = {(r.headers["webhook-id"], r.body) for r in receiver.requests}
        done = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="range")))
        assert (done["state"], done["queued"], done["delivered"]) == ("done", 10, 10)
        again = receiver.requests[10:]
        assert {(r.headers["webhook-id"], r.body) for r in again} == first
        assert {r.headers["guardhouse-replay"] for r in again} == {"1"}
        twice = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="range")))
        assert twice["queued"] == 10
    assert len(receiver.requests) == 30


async def test_one_message_is_sent_again(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url())
    async with everything(resources):
        await make.say(resources, tenant, 1, 2)
        await make.until_states(resources, delivered=2)
        wanted = ids(receiver)[0]
        done = await finished(admin, await asked(admin, hook.id, {"mode": "one", "message_id": wanted}))
        assert done["delivered"] == 1
    assert ids(receiver)[2:] == [wanted]
    unknown = await admin.post(f"{HOOKS}/{hook.id}/replay", json={"mode": "one", "message_id": str(uuid4())})
    assert unknown.status_code == 404


async def test_what_failed_is_sent_again_and_is_no_dead_letter_any_more(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(0.05,))
    async with everything(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, delivered=1)
        receiver.behave = answer(500, b"down")
        await make.say(resources, tenant, 2)
        await make.until_states(resources, delivered=1, exhausted=1)
        (dead,) = (await admin.get(f"{HOOKS}/dead-letters")).json()["data"]
        assert (dead["last_error"], dead["tries"]) == ("HTTP 500", 2)
        detail = (await admin.get(f"{HOOKS}/deliveries/{dead['id']}")).json()
        assert [one["response_head"] for one in detail["attempts"]] == ["down", "down"]
        assert json.loads(detail["body"])["data"]["name"] == "n2"
        assert detail["body"].encode() == receiver.requests[-1].body
        assert (
            detail["attempts"][1]["headers"]["webhook-signature"]
            == (receiver.requests[-1].headers["webhook-signature"])
        )
        receiver.behave = answer(200)
        done = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="failed")))
        assert (done["looked_at"], done["queued"], done["delivered"]) == (2, 1, 1)
        assert (await admin.get(f"{HOOKS}/dead-letters")).json()["data"] == []
        again = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="failed")))
        assert again["queued"] == 0


async def test_what_never_arrived_is_made_from_the_log(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url())
    path = f"{HOOKS}/{hook.id}"
    async with everything(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, delivered=1)
        await admin.post(f"{path}/disable")
        await make.say(resources, tenant, 2, 3)

        async def passed() -> object:
            return await make.rows(
                resources,
                "SELECT FROM notice_cursors c JOIN notices n ON (c.epoch, c.txid, c.id) = (n.epoch, n.txid, n.id)"
                " WHERE reader = 'webhooks' AND n.data->>'name' = 'n3'",
            )

        await make.eventually(passed)
        refused = await admin.post(f"{path}/replay", json=last_hour(resources, mode="missing"))
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        await admin.post(f"{path}/enable")
        done = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="missing")))
        assert (done["queued"], done["delivered"]) == (2, 2)
        again = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="missing")))
        assert again["queued"] == 0
    names = [json.loads(r.body)["data"]["name"] for r in receiver.requests]
    assert sorted(names) == ["n1", "n2", "n3"]


async def test_a_cancelled_replay_sends_no_more(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url())
    async with everything(resources):
        await make.say(resources, tenant, *range(20))
        await make.until_states(resources, delivered=20)
        await admin.patch(f"{HOOKS}/{hook.id}", json={"rate_per_second": 0.5})
        begun = await asked(admin, hook.id, last_hour(resources, mode="range"))
        await receiver.wait_for(21)
        ended = (await admin.delete(f"{HOOKS}/replays/{begun['id']}")).json()
        assert ended["state"] == "cancelled"
        done = await finished(admin, begun)
        assert (done["state"], done["pending"]) == ("cancelled", 0)
        assert done["cancelled"] + done["delivered"] == 20
        assert done["cancelled"] > 10
        assert (await admin.delete(f"{HOOKS}/replays/{begun['id']}")).status_code == 200
    assert len(receiver.requests) <= 20 + done["delivered"] + 1


async def test_replays_leave_half_of_the_room_to_what_is_new(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url(), concurrency=4)
    async with everything(resources):
        await make.say(resources, tenant, *range(30))
        await make.until_states(resources, delivered=30)
        gate = asyncio.Event()

        async def hold(turn: Any) -> None:
            if turn.request.headers.get("guardhouse-replay"):
                await gate.wait()
            await answer(200)(turn)

        receiver.behave = hold
        begun = await asked(admin, hook.id, last_hour(resources, mode="range"))
        await receiver.wait_for(32)
        await make.say(resources, tenant, 99)
        await receiver.wait_for(33)
        assert json.loads(receiver.requests[32].body)["data"]["name"] == "n99"
        assert sum("guardhouse-replay" in r.headers for r in receiver.requests) == 2
        gate.set()
        assert (await finished(admin, begun))["delivered"] == 30


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "range"},
        {"mode": "one"},
        {"mode": "all", "since": "2026-01-01T00:00:00Z"},
        {"mode": "range", "since": "2026-01-01"},
        {"mode": "range", "since": "2099-01-01T00:00:00Z"},
        {"mode": "range", "since": "2020-01-01T00:00:00Z"},
        {"mode": "range", "since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"},
        {"mode": "range", "since": "2026-01-01T00:00:00Z", "message_id": str(uuid4())},
        {"mode": "one", "message_id": "msg_1"},
    ],
)
async def test_a_wrong_replay_is_refused(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, body: dict[str, Any]
) -> None:
    hook = await make.endpoint(resources, tenant, "https://nowhere.invalid/")
    refused = await admin.post(f"{HOOKS}/{hook.id}/replay", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    if body.get("since") == "2020-01-01T00:00:00Z":
        assert set(refused.json()["available"]) == {"since", "until"}


async def test_retry_now_and_discard(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(500)
    hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(3600,))
    async with everything(resources):
        await make.say(resources, tenant, 1, 2)
        await receiver.wait_for(2)

        async def tried() -> bool:
            rows = await make.rows(resources, "SELECT FROM webhook_deliveries WHERE tries = 1")
            return len(rows) == 2

        await make.eventually(tried)
        listed = (
            await admin.get(f"{HOOKS}/{hook.id}/deliveries", params={"state": "pending", "status": 500})
        ).json()
        one, two = (row["id"] for row in listed["data"])
        receiver.behave = answer(200)
        assert (await admin.post(f"{HOOKS}/deliveries/{one}/retry")).status_code == 202
        await make.until_states(resources, delivered=1, pending=1)
        arrived = await admin.post(f"{HOOKS}/deliveries/{one}/retry")
        assert (arrived.status_code, arrived.json()["code"]) == (409, "conflict")
        gone = await admin.post(f"{HOOKS}/dead-letters/discard", json={"delivery_ids": [two, str(uuid4())]})
        assert gone.json() == {"discarded": 1}
        assert (await admin.post(f"{HOOKS}/deliveries/{two}/retry")).status_code == 202
        await make.until_states(resources, delivered=2)
    wrongs: tuple[dict[str, object], ...] = (
        {},
        {"delivery_ids": []},
        {"webhook_id": str(hook.id), "delivery_ids": [one]},
    )
    for wrong in wrongs:
        assert (await admin.post(f"{HOOKS}/dead-letters/discard", json=wrong)).status_code == 422


async def test_a_whole_endpoints_dead_letters_are_discarded(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(400)
    hook = await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(0.02,))
    async with everything(resources):
        await make.say(resources, tenant, 1, 2, 3)
        await make.until_states(resources, exhausted=3)
    pages = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await admin.get(f"{HOOKS}/dead-letters", params=params)).json()
        pages.append([row["id"] for row in page["data"]])
        cursor = page["pagination"]["cursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [2, 1]
    gone = await admin.post(f"{HOOKS}/dead-letters/discard", json={"webhook_id": str(hook.id)})
    assert gone.json() == {"discarded": 3}
    assert (await admin.get(f"{HOOKS}/dead-letters")).json()["data"] == []
    assert await make.states(resources) == {"discarded": 3}


async def test_skipping_by_hand_lets_the_line_go_on(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(500)
    hook = await make.endpoint(resources, tenant, receiver.url(), fifo=True, preset="custom", steps=(3600,))
    async with everything(resources):
        await make.say(resources, tenant, 1, 2)
        await receiver.wait_for(1)

        async def failed() -> object:
            return await make.rows(resources, "SELECT FROM webhook_deliveries WHERE tries = 1")

        await make.eventually(failed)
        rows = (await admin.get(f"{HOOKS}/{hook.id}/deliveries")).json()["data"]
        assert [row["waits_for_order"] for row in rows] == [True, False]
        receiver.behave = answer(200)
        await admin.post(f"{HOOKS}/dead-letters/discard", json={"delivery_ids": [rows[1]["id"]]})
        await make.until_states(resources, discarded=1, delivered=1)


async def test_another_tenant_sees_none_of_it(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    hook = await make.endpoint(resources, tenant, receiver.url())
    async with everything(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, delivered=1)
        begun = await finished(admin, await asked(admin, hook.id, last_hour(resources, mode="range")))
    (delivery, *_) = (await admin.get(f"{HOOKS}/{hook.id}/deliveries")).json()["data"]
    _, text = await add_tenant(resources, "umbrella")
    other = {"X-API-Key": text}
    for method, path in (
        ("GET", f"{hook.id}/deliveries"), ("GET", f"deliveries/{delivery['id']}"),
        ("POST", f"deliveries/{delivery['id']}/retry"), ("GET", f"replays/{begun['id']}"),
        ("DELETE", f"replays/{begun['id']}"),
    ):  # fmt: skip
        away = await admin.request(method, f"{HOOKS}/{path}", headers=other)
        assert away.status_code == 404, path
    gone = await admin.post(
        f"{HOOKS}/dead-letters/discard", json={"delivery_ids": [delivery["id"]]}, headers=other
    )
    assert gone.json() == {"discarded": 0}
    assert (await admin.get(f"{HOOKS}/dead-letters", headers=other)).json()["data"] == []
