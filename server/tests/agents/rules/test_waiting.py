"""Agents that wait for new rules: told at once by whatever process publishes, few enough, and let go in time."""

import asyncio
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.agents.rules import make as rules
from server.tests.agents.rules.make import Shop
from server.tests.components import api
from server.tests.components.opened import opened

BAN = {"net": "203.0.113.7"}
LONG = 50  # as long as may be: an answer with news has not come by the end of the time


@pytest.fixture
async def shop(client: httpx.AsyncClient, resources: Resources) -> Shop:
    return await rules.shop(client, resources)


async def waiting(shop: Shop, seconds: int = LONG, **headers: str) -> httpx.Response:
    known = (await shop.poll(**headers)).headers["etag"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await shop.client.get(
        f"/api/v1/rules?wait={seconds}", headers=shop.agent | named | {"If-None-Match": known}, timeout=100
    )


async def until(shop: Shop, count: int) -> None:
    waiters = shop.client._transport.app.state.rule_waiters  # type: ignore[attr-defined]  # httpx has no way to ask
    async with asyncio.timeout(30):
        while waiters.count != count:
            await asyncio.sleep(0.01)


async def test_waiting_agents_get_what_is_published_each_its_own(shop: Shop) -> None:
    everyone, meant = waiting(shop), waiting(shop, X_Agent_Install_Id="i-1")
    tasks = [asyncio.create_task(one) for one in (everyone, meant)]
    await until(shop, 2)
    await shop.add(value=BAN, target={"installation": "i-1"})
    plain, own = [(await task) for task in tasks]
    assert (plain.status_code, plain.json()["ip_blacklist"], plain.json()["version"]) == (200, [], 1)
    assert (own.status_code, own.json()["ip_blacklist"]) == (200, ["203.0.113.7"])
    assert own.headers["etag"].startswith('"1-')
    await until(shop, 0)


async def test_another_process_wakes_them(shop: Shop, database_url: str, tmp_path: Path) -> None:
    task = asyncio.create_task(waiting(shop))
    await until(shop, 1)
    async with opened(database_url, tmp_path / "other") as resources, api.client_of(resources) as other:
        answer = await other.post(shop.url, json={"kind": "ban_net", "value": BAN}, headers=shop.admin)
        assert answer.status_code == 201, answer.text
    assert (await task).json()["version"] == 1


async def test_a_lost_wake_up_delays_and_loses_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    waiters = shop.client._transport.app.state.rule_waiters  # type: ignore[attr-defined]  # as above
    monkeypatch.setattr(waiters.resources.wake, "_answered", float("-inf"))
    monkeypatch.setattr(type(waiters.resources.wake), "connected", property(lambda _wake: False))
    monkeypatch.setattr(waiters, "hear", lambda _payload: None)
    task = asyncio.create_task(waiting(shop))
    await until(shop, 1)
    await shop.add(value=BAN)
    assert (await task).json()["version"] == 1


async def test_patience_ends_with_what_is_known(shop: Shop) -> None:
    await shop.add(value=BAN)
    answer = await waiting(shop, 1)
    assert (answer.status_code, answer.content) == (304, b"")


async def test_no_more_wait_than_may(database_url: str, tmp_path: Path) -> None:
    async with (
        opened(database_url, tmp_path, rule_waiters=1) as resources,
        api.client_of(resources) as client,
    ):
        shop = await rules.shop(client, resources)
        task = asyncio.create_task(waiting(shop))
        await until(shop, 1)
        refused = await waiting(shop)
        assert (refused.status_code, refused.headers["retry-after"]) == (304, "15")
        await shop.add(value=BAN)
        assert (await task).status_code == 200


async def test_a_process_that_stops_lets_them_go(shop: Shop) -> None:
    task = asyncio.create_task(waiting(shop))
    await until(shop, 1)
    shop.resources.drain.set()
    assert (await task).status_code == 304


async def test_who_hangs_up_waits_no_more(resources: Resources) -> None:
    held = []
    async with (
        api.served(resources, lambda app: held.append(app.state)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        shop = await rules.shop(client, resources)
        task = asyncio.create_task(waiting(shop))
        async with asyncio.timeout(30):
            while held[0].rule_waiters.count != 1:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while held[0].rule_waiters.count:
                await asyncio.sleep(0.01)
