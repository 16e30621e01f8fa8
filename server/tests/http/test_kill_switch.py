import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardhouse.foundation import wake
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.http.kill_switch import is_held_back
from guardhouse.identity.kill_switch import mode
from guardhouse.identity.kill_switch.mode import Mode, ModeCache
from server.tests.components import api
from server.tests.components.opened import add_tenant, opened
from server.tests.components.operations import operations_of
from server.tests.identity import make

PATH = "/api/v1/admin/kill-switch"


class House:
    """Several processes over one database: each with Resources and an application of its own."""

    def __init__(self, clients: list[httpx.AsyncClient], clock: SetClock, opened: list[Resources]) -> None:
        self.clients = clients
        self.clock = clock
        self.opened = opened
        self.resources = opened[0]
        self.platform: dict[str, str] = {}
        self.admin: dict[str, str] = {}

    async def set(self, wanted: str, **more: Any) -> httpx.Response:
        body = {"mode": wanted, "reason": "because"} | more
        return await self.clients[0].put(PATH, json=body, headers=self.platform)


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    clock = SetClock()
    async with contextlib.AsyncExitStack() as stack:
        all_of_them = [
            await stack.enter_async_context(opened(database_url, tmp_path, clock=clock)) for _ in range(2)
        ]
        clients = [await stack.enter_async_context(api.client_of(each)) for each in all_of_them]
        made = House(clients, clock, all_of_them)
        _, text = await add_tenant(made.resources, "platform", role="platform")
        made.platform = make.bearing(text)
        _, text = await add_tenant(made.resources, "acme")
        made.admin = make.bearing(text)
        yield made


async def test_safe_mode_holds_new_keys_back_and_lets_the_rest_go_on(house: House) -> None:
    client = house.clients[0]
    key = (await client.post("/api/v1/keys", json={"name": "x"}, headers=house.admin)).json()
    done = await house.set("SAFE_MODE")
    assert (done.status_code, done.json()["mode"], done.json()["until"]) == (200, "SAFE_MODE", None)
    refused = await client.post("/api/v1/keys", json={"name": "x"}, headers=house.admin)
    assert (refused.status_code, refused.json()["code"]) == (503, "safe_mode")
    assert refused.headers["retry-after"] == "60"
    assert (await client.get("/api/v1/keys", headers=house.admin)).status_code == 200
    assert (await client.delete(f"/api/v1/keys/{key['id']}", headers=house.admin)).status_code == 200
    assert (await client.post("/api/v1/agents", json={"id": "a"}, headers=house.admin)).status_code == 201
    assert (await house.set("NORMAL")).json()["mode"] == "NORMAL"
    assert (await client.post("/api/v1/keys", json={"name": "x"}, headers=house.admin)).status_code == 201


async def test_a_hard_stop_leaves_health_problems_and_the_platform(house: House) -> None:
    client = house.clients[0]
    await house.set("HARD_STOP", ttl_seconds=90)
    for method, path, headers in [
        ("GET", "/api/v1/me", house.admin),
        ("GET", "/api/v1/me", house.platform),
        ("POST", "/api/v1/agents", {}),
        ("POST", "/api/v1/events", house.admin),
        ("GET", "/v1/agents", house.admin),
        ("GET", "/api/v1/stream", house.admin),
    ]:
        answer = await client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "hard_stop"), path
        assert answer.headers["retry-after"] == "90"
    for path in ("/healthz", "/readyz", "/health", "/problems", "/problems/hard_stop"):
        assert (await client.get(path)).status_code == 200, path
    assert (await client.get(PATH, headers=house.platform)).json()["mode"] == "HARD_STOP"
    assert (await client.get(PATH, headers=house.admin)).status_code == 403
    assert (await house.set("NORMAL")).status_code == 200
    assert (await client.get("/api/v1/me", headers=house.admin)).status_code == 200


@pytest.mark.parametrize("heard", [True, False])
async def test_every_process_knows_within_a_second(house: House, *, heard: bool) -> None:
    other = house.clients[1]
    assert (await other.get("/api/v1/me", headers=house.admin)).status_code == 200
    if not heard:
        for each in house.opened:
            await each.wake.close()
    await house.set("HARD_STOP")
    async with asyncio.timeout(mode.FRESH_SECONDS + 4):
        while (await other.get("/api/v1/me", headers=house.admin)).status_code != 503:
            await asyncio.sleep(0.02)


async def test_the_time_to_live_ends_it_without_a_job(house: House) -> None:
    until = (await house.set("HARD_STOP", ttl_seconds=60)).json()["until"]
    assert until == "2026-01-01T00:01:00.000Z"
    for seconds, status in [(59.9, 503), (0.1, 200)]:
        house.clock.move(seconds)
        assert (await house.clients[1].get("/api/v1/me", headers=house.admin)).status_code == status
    shown = (await house.clients[0].get(PATH, headers=house.platform)).json()
    assert (shown["mode"], shown["reason"], shown["until"]) == ("NORMAL", "because", until)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "OFF"},
        {"reason": ""},
        {"reason": "x" * 501},
        {"ttl_seconds": 0},
        {"ttl_seconds": 86_401},
        {"for": 1},
    ],
)
async def test_what_is_no_mode_is_422(house: House, wrong: dict[str, Any]) -> None:
    assert (await house.set("SAFE_MODE", **wrong)).status_code == 422


async def test_a_change_is_audited_and_told(house: House) -> None:
    await house.set("SAFE_MODE", ttl_seconds=60)
    await house.set("HARD_STOP")
    async with system_transaction(house.resources.database) as tx:
        audited = await tx.fetch(
            "SELECT action, before->>'mode' AS b, after->>'mode' AS a, reason FROM audit_log"
            " WHERE action LIKE 'platform.%' ORDER BY seq"
        )
        told = await tx.fetch("SELECT severity, subject_seq, data->>'previous' AS p, data->>'mode' AS m FROM notices"
                              " WHERE kind = 'platform.mode_changed' ORDER BY id")  # fmt: skip
    assert [tuple(row) for row in audited] == [
        ("platform.set_mode", "NORMAL", "SAFE_MODE", "because"),
        ("platform.set_mode", "SAFE_MODE", "HARD_STOP", "because"),
    ]
    assert [tuple(row) for row in told] == [
        ("high", 1, "NORMAL", "SAFE_MODE"),
        ("critical", 2, "SAFE_MODE", "HARD_STOP"),
    ]


async def test_while_the_database_is_away_the_last_known_mode_holds(
    house: House, database_url: str, tmp_path: Path
) -> None:
    await house.set("SAFE_MODE")
    async with opened(database_url, tmp_path) as resources:
        cache = ModeCache(resources)
        assert (await cache.current())[0] is Mode.SAFE_MODE
        async with opened("postgresql://u:p@127.0.0.1:1/none", tmp_path) as lost:
            cache.resources = lost
            cache.drop()
            assert (await cache.current())[0] is Mode.SAFE_MODE


async def test_what_safe_mode_refuses_is_what_was_meant(client: httpx.AsyncClient) -> None:
    """Each new operation that it would catch is looked at once, here."""
    refused = {o.id for o in await operations_of(client) if o.method == "POST" and is_held_back(o.id)}
    assert refused == {
        "create_key",
        "create_project_key",
        "create_encryption_key",
        "register_key",
        "create_client",
        "create_client_secret",
        "create_webhook_replay",
        "retry_delivery",
        "create_run",
        "create_top_up",
    }


def test_the_second_that_is_promised() -> None:
    assert mode.FRESH_SECONDS <= 1.0
    assert wake.PROBE_SECONDS <= 1.0
