"""Rules of a tenant for tests, and how they are sent."""

import copy
from collections.abc import Mapping
from typing import Any

import httpx

from guardhouse.scores.rules.wire import EXAMPLE
from server.tests.ingest.make import Door

RULES = "/api/v1/risk/rules"


def payroll(**changes: Any) -> dict[str, Any]:
    """Return a rule on the files below /srv/payroll, with its tests; None takes a member out."""
    rule = copy.deepcopy(EXAMPLE) | changes
    return {name: value for name, value in rule.items() if value is not None}


def reading(path: str = "/srv/payroll/a.csv", **members: Any) -> dict[str, Any]:
    """Return the wire event that the rule on the payroll is about."""
    args = {"path": path, "flags": ["O_RDONLY"]}
    return {"pid": 100, "start": 7, "exe": "/bin/cat", "syscall": "openat", "args": args, "ret": 3} | members


async def send(door: Door, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
    """Send a request with the tenant's key."""
    return await door.client.request(method, path, json=body, headers={"x-api-key": door.key})


async def put(
    door: Door, rule: Mapping[str, Any], rule_id: str = "payroll_read", **more: Any
) -> dict[str, Any]:
    """Write a rule that must be taken."""
    answer = await send(door, "PUT", f"{RULES}/{rule_id}", {"rule": rule} | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def patch(door: Door, rule_id: str, **change: Any) -> dict[str, Any]:
    """Change a rule; it must be taken."""
    answer = await send(door, "PATCH", f"{RULES}/{rule_id}", change)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def shown(door: Door, rule_id: str) -> dict[str, Any]:
    """Return one rule."""
    answer = await send(door, "GET", f"{RULES}/{rule_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
