"""A `gh_test_` key acts in the test twin of its tenant, and the two are as far apart as two tenants."""

import asyncio
from typing import Any

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import tenants, twins
from server.tests.identity import make


@pytest.fixture
async def live(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def made(client: httpx.AsyncClient, headers: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/keys", json={"name": "x", "role": "admin"} | wanted, headers=headers)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def test_a_test_key_acts_in_the_twin(client: httpx.AsyncClient, live: dict[str, str]) -> None:
    key = await made(client, live, env="test")
    assert key["api_key"].startswith("gh_test_")
    test = make.bearing(key["api_key"])
    mine, its = [(await client.get("/api/v1/me", headers=headers)).json() for headers in (live, test)]
    assert (mine["tenant"], mine["env"]) == ("acme", "live")
    assert (its["tenant"], its["env"]) == ("acme.test", "test")
    assert mine["tenant_id"] != its["tenant_id"]
    assert (await client.post("/api/v1/agents", json={"id": "web-1"}, headers=live)).status_code == 201
    assert (await client.get("/api/v1/agents", headers=test)).json()["data"] == []
    assert (await client.get("/api/v1/agents/web-1", headers=test)).status_code == 404


async def test_the_tenant_keeps_the_keys_of_its_twin_and_not_the_other_way(
    client: httpx.AsyncClient, live: dict[str, str]
) -> None:
    first, second = [await made(client, live, env="test") for _ in range(2)]
    live_key = await made(client, live)
    test = make.bearing(first["api_key"])

    async def listed(headers: dict[str, str], query: str = "") -> set[str]:
        data = (await client.get(f"/api/v1/keys{query}", headers=headers)).json()["data"]
        return {key["id"] for key in data}

    assert live_key["id"] in await listed(live)
    assert first["id"] not in await listed(live)
    assert await listed(live, "?env=test") == {first["id"], second["id"]} == await listed(test)
    assert await listed(test, "?env=live") == set()
    path = f"/api/v1/keys/{second['id']}"
    assert (await client.get(path, headers=live)).json()["id"] == second["id"]
    assert (await client.patch(path, json={"name": "y"}, headers=live)).json()["name"] == "y"
    rotated = await client.post(f"{path}/rotate", json={"grace_seconds": 9}, headers=live)
    assert rotated.json()["api_key"].startswith("gh_test_")
    assert (await client.delete(path, headers=live)).json()["state"] == "revoked"
    for method, action in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await client.request(
            method,
            f"/api/v1/keys/{live_key['id']}{action}",
            json={"name": "z"} if method == "PATCH" else None,
            headers=test,
        )
        assert answer.status_code == 404, (method, action)


async def test_a_test_key_makes_test_keys_only(client: httpx.AsyncClient, live: dict[str, str]) -> None:
    test = make.bearing((await made(client, live, env="test"))["api_key"])
    assert (await made(client, test))["env"] == "test"
    answer = await client.post("/api/v1/keys", json={"name": "x", "env": "live"}, headers=test)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")


async def test_a_twin_is_made_once_and_only_for_a_tenant_that_is_ones_own(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]

    async def ensure() -> Any:
        async with tenant_transaction(resources.database, a.key) as tx:
            return await twins.ensure_twin(tx, resources.clock, a)

    found = await asyncio.gather(*(ensure() for _ in range(8)))
    assert len({twin.id for twin in found}) == 1
    assert (found[0].twin_of, found[0].env, found[0].slug) == (a.id, "test", "a.test")
    with pytest.raises(Exception, match="row-level security"):
        async with tenant_transaction(resources.database, b.key) as tx:
            await twins.ensure_twin(tx, resources.clock, await _another(resources, "c"))
    async with system_transaction(resources.database) as tx:
        assert [tenant.slug for tenant in await tenants.list_tenants(tx)] == ["a", "b", "c"]
        assert await twins.ensure_twin(tx, resources.clock, found[0]) == found[0]


async def _another(resources: Resources, slug: str) -> Any:
    return await make.tenant(resources, slug)


async def test_what_is_done_inside_a_twin_is_behind_the_twins_wall(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        twin = await twins.ensure_twin(tx, resources.clock, tenant)
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 2
        async with tx.inside(twin.key):
            assert tx.tenant == twin.key
            assert await tx.fetch_value("SELECT slug FROM tenants") == "acme.test"
        assert tx.tenant == tenant.key
        assert await tx.fetch_value("SELECT count(*) FROM tenants") == 2
    with pytest.raises(ValueError, match="told"):
        async with tenant_transaction(resources.database, tenant.key) as tx, tx.inside(twin.key):
            raise ValueError("told")
