"""Keys of applications: what they can do, and the settings that come with them."""

import ast
from typing import Any

import httpx
import pytest

from guard_agent import AgentConfig
from guardhouse.foundation.resources import Resources
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


@pytest.fixture
async def url(client: httpx.AsyncClient, admin: dict[str, str]) -> str:
    made = await client.post("/api/v1/projects", json={"slug": "shop"}, headers=admin)
    return f"/api/v1/projects/{made.json()['id']}"


def arguments(code: str, name: str) -> dict[str, Any]:
    """Return the keyword arguments of a call written as Python."""
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == name
    return {str(given.arg): ast.literal_eval(given.value) for given in call.keywords}


async def test_a_key_comes_with_settings_that_work(
    client: httpx.AsyncClient, admin: dict[str, str], url: str, resources: Resources
) -> None:
    answer = await client.post(
        f"{url}/keys", json={"name": "app"}, headers=admin | {"Idempotency-Key": "k-1"}
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    text, project = made["api_key"], url.rpartition("/")[2]
    assert (made["role"], made["scopes"], made["project_id"]) == (
        "agent", ["app_rules:read", "telemetry:write"], project,
    )  # fmt: skip
    endpoint = resources.settings.public_url
    assert arguments(made["config"]["security_config"], "SecurityConfig") == {
        "enable_agent": True,
        "agent_api_key": text,
        "agent_endpoint": endpoint,
        "agent_project_id": "shop",
        "enable_dynamic_rules": True,
    }
    from_code = AgentConfig(**arguments(made["config"]["agent_config"], "AgentConfig"))
    lines = dict(line.split("=", 1) for line in made["config"]["environment"].splitlines())
    from_environment = AgentConfig.from_env(lines)
    for config in (from_code, from_environment):
        assert (config.api_key, config.endpoint, config.project_id) == (text, endpoint, "shop")
    sent = await client.post("/api/v1/events", json={"batch_id": "b"}, headers=make.bearing(text))
    assert sent.status_code == 200
    assert (await client.get(url, headers=make.bearing(text))).status_code == 403
    replayed = await client.post(
        f"{url}/keys", json={"name": "app"}, headers=admin | {"Idempotency-Key": "k-1"}
    )
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert text not in replayed.text
    listed = (await client.get(f"{url}/keys", headers=admin)).json()["data"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert text not in str(listed)


async def test_keys_are_made_by_who_could_do_as_much_and_for_projects_that_are_open(
    client: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    body = {"name": "narrow", "role": "admin", "scopes": ["projects:write", "projects:read"]}
    narrow = make.bearing((await client.post("/api/v1/keys", json=body, headers=admin)).json()["api_key"])
    refused = await client.post(f"{url}/keys", json={"name": "app"}, headers=narrow)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_escalation")
    await client.delete(url, headers=admin)
    refused = await client.post(f"{url}/keys", json={"name": "app"}, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_keys_of_other_projects_are_not_listed(
    client: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    other = (await client.post("/api/v1/projects", json={"slug": "other"}, headers=admin)).json()["id"]
    await client.post(f"/api/v1/projects/{other}/keys", json={"name": "theirs"}, headers=admin)
    await client.post("/api/v1/keys", json={"name": "everybody's"}, headers=admin)
    assert (await client.get(f"{url}/keys", headers=admin)).json()["data"] == []
