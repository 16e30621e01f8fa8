"""Policies of the project ``shop``, and what they do."""

from typing import Any

import httpx

from guardhouse.events.policies import jobs
from server.tests.events.ips.make import project_of, rate
from server.tests.ingest.make import Door, batch

SCORE = {"source": "ip_score", "at_least": 600}


async def send(door: Door, method: str, path: str, **options: Any) -> httpx.Response:
    """Call something below the project ``shop``."""
    headers = {"x-api-key": door.key} | options.pop("headers", {})
    url = f"/api/v1/projects/{await project_of(door)}{path}"
    return await door.client.request(method, url, headers=headers, **options)


async def policy(door: Door, **members: Any) -> dict[str, Any]:
    """Make a policy."""
    body = {"name": "scanners", "when": SCORE, "mode": "enforce"} | members
    answer = await send(door, "POST", "/rule-policies", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def judge(door: Door) -> None:
    """Score what waits and let policies act on it."""
    await rate(door)
    while await jobs.judge_once(door.resources):
        pass


async def read_notices(door: Door) -> None:
    """Show policies the notices that wait."""
    while await jobs.read_notices(door.resources):
        pass


async def actions(door: Door, **query: Any) -> list[dict[str, Any]]:
    """Return what policies did, the newest first."""
    answer = await send(door, "GET", "/rule-actions", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def document(door: Door) -> dict[str, Any]:
    """Return what the agents of the project get."""
    answer = await door.client.get("/api/v1/rules", headers={"x-api-key": door.key, "x-project-id": "shop"})
    found: dict[str, Any] = answer.json()
    return found


async def start(door: Door) -> None:
    """Let the project exist, with enough harmless events that nobody made a fifth of them."""
    events = [
        door.event(
            event_type="security_headers_applied",
            ip_address=f"198.18.{n // 250}.{n % 250}",
            idempotency_key=str(n),
        )
        for n in range(400)
    ]
    await door.events(batch(events, batch_id="start"), x_project_id="shop")
