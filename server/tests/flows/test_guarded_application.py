"""An application behind our own middleware reports to a running house, and obeys its rules within moments."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from agent.tests.middleware.asgi_driver import client_of, running
from guard_agent import AgentConfig, GuardMiddleware, guard_agent
from guard_agent.client import GuardAgentHandler
from server.tests.cli.house_process import RunningHouse, running_house
from server.tests.components.house_hands import PATIENCE_SECONDS, a_folder

pytestmark = pytest.mark.timeout(180)
ATTACKER, VISITOR = "203.0.113.7", "192.0.2.1"


@pytest.fixture(scope="module")
def house() -> Iterator[RunningHouse]:
    with a_folder() as path, running_house(path / "house", "--port", "0") as made:
        yield made


@pytest.fixture
async def admin(house: RunningHouse) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-API-Key": house.ready["admin_key"]}
    url = f"{house.ready['url']}/api/v1"
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False
    ) as client:
        yield client


@pytest.fixture
async def handler(
    house: RunningHouse, admin: httpx.AsyncClient, tmp_path: Any
) -> AsyncIterator[GuardAgentHandler]:
    scopes = ["telemetry:write", "app_rules:read"]
    key = await admin.post("/keys", json={"name": "shop", "role": "agent", "scopes": scopes})
    key.raise_for_status()
    config = AgentConfig(
        api_key=key.json()["api_key"],
        endpoint=house.ready["url"],
        project_id="shop",
        state_dir=tmp_path,
        flush_interval=1,
        shutdown_timeout=PATIENCE_SECONDS,
        install_signal_handlers=False,
    )
    made = guard_agent(config, name=f"flow-{uuid.uuid4()}")
    yield made
    await made.close(30.0)


def shop() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        if item_id == 13:
            raise HTTPException(401)
        return item_id

    return app


async def test_what_happens_is_stored_and_a_ban_holds_until_it_is_lifted(
    admin: httpx.AsyncClient, handler: GuardAgentHandler
) -> None:
    app = GuardMiddleware(shop(), agent=handler, enforce=True)
    async with running(app), client_of(app, ATTACKER) as attacker, client_of(app, VISITOR) as visitor:
        assert [(await attacker.get(f"/items/{number}")).status_code for number in (1, 13)] == [200, 401]
        assert (await visitor.get("/items/2")).status_code == 200
        await holds(lambda: _has_project(admin))
        rules = f"/projects/{await project_id(admin)}/rules"
        made = await admin.post(rules, json={"kind": "ban_net", "value": {"net": ATTACKER}})
        assert made.status_code == 201, made.text
        await holds(lambda: _answers(attacker, 403))
        assert (await attacker.get("/items/1")).json()["code"] == "address_banned"
        assert (await visitor.get("/items/2")).status_code == 200
        gone = await admin.delete(f"{rules}/{made.json()['id']}", headers={"If-Match": '"1"'})
        assert gone.status_code == 204, gone.text
        await holds(lambda: _answers(attacker, 200))
    listed = await admin.get("/events", params={"family": "app", "limit": 100})
    types = {event["event_type"] for event in listed.raise_for_status().json()["data"]}
    assert {"authentication_failed", "ip_blocked", "dynamic_rule_applied"} <= types
    ledger = handler.ledger()
    for lane in ("events", "metrics"):
        assert ledger[lane]["captured"] == ledger[lane]["delivered"] + ledger[lane]["merged"] > 0


async def project_id(admin: httpx.AsyncClient) -> str | None:
    listed = await admin.get("/projects")
    found = {project["slug"]: project["id"] for project in listed.raise_for_status().json()["data"]}
    return found.get("shop")


async def _has_project(admin: httpx.AsyncClient) -> bool:
    return await project_id(admin) is not None


async def _answers(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.get("/items/1")).status_code == status


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; within a minute it must."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)
