import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys
from guardhouse.identity.roles import ROLES
from server.tests.components.postgres import Clone
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def test_the_life_of_a_key(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    made = await client.post(
        "/api/v1/keys", json={"name": "ci", "role": "analyst", "expires_in_days": 1}, headers=admin
    )
    assert made.status_code == 201
    key = made.json()
    text = key.pop("api_key")
    assert key["scopes"] == sorted(ROLES["analyst"])
    assert (await client.get("/api/v1/me", headers=make.bearing(text))).json()["role"] == "analyst"
    assert (await client.get(f"/api/v1/keys/{key['id']}", headers=admin)).json() == key
    assert text[16:40] not in (await client.get("/api/v1/keys", headers=admin)).text
    for _ in range(2):
        gone = await client.delete(f"/api/v1/keys/{key['id']}", headers=admin)
        assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    async with asyncio.timeout(1):
        while (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 200:
            await asyncio.sleep(0.01)
    again = await client.post(f"/api/v1/keys/{key['id']}/revoke", headers=admin)
    assert (again.status_code, again.json()["state"]) == (200, "revoked")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a"}, 201),
        ({"name": "a" * 200, "env": "live"}, 201),
        ({"name": ""}, 422),
        ({"name": "a" * 201}, 422),
        ({"name": 5}, 422),
        ({"name": "a", "role": "platform"}, 403),
        ({"name": "a", "role": "billing"}, 201),
        ({"name": "a", "rate_limit_per_minute": 0}, 422),
        ({"name": "a", "rate_limit_per_minute": 10**9}, 422),
        ({"name": "a", "rate_limit_per_minute": 100_000, "rate_limit_per_day": 100_000_000}, 201),
        ({"name": "a", "rate_limit_per_day": 0}, 422),
        ({"name": "a", "rate_limit_per_day": 10**9}, 422),
        ({"name": "a", "rate_limit_per_day": None}, 422),
        ({"name": "a", "ip_allow": ["10.0.0.0/8", "2001:db8::1"]}, 201),
        ({"name": "a", "ip_allow": ["10.0.0.1/8"]}, 422),
        ({"name": "a", "ip_allow": ["example.com"]}, 422),
        ({"name": "a", "ip_allow": ["192.0.2.1"] * 51}, 422),
        ({"name": "a", "project_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11"}, 422),
        ({"name": "a", "project_id": "x"}, 422),
        ({"name": "a", "role": "root"}, 422),
        ({"name": "a", "env": "prod"}, 422),
        ({"name": "a", "scopes": []}, 422),
        ({"name": "a", "scopes": ["nothing:read"]}, 422),
        ({"name": "a", "scopes": ["platform"]}, 403),
        ({"name": "a", "scopes": ["keys:write"]}, 403),
        ({"name": "a", "expires_in_days": 0}, 422),
        ({"name": "a", "expires_in_days": -1}, 422),
        ({"name": "a", "expires_in_days": 10**9}, 422),
        ({"name": "a", "expires_in_days": "1"}, 201),
        ({"name": "a", "extra": 1}, 422),
    ],
)
async def test_what_a_key_may_be(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, object], status: int
) -> None:
    answer = await client.post("/api/v1/keys", json=body, headers=admin)
    assert answer.status_code == status, answer.text
    listed = (await client.get("/api/v1/keys", headers=admin)).json()["data"]
    assert len(listed) == (2 if status == 201 else 1)


async def test_a_key_makes_none_that_can_do_more(client: httpx.AsyncClient, resources: Resources) -> None:
    _, text = await make.key(resources, await make.tenant(resources), scopes=("keys:write", "events:read"))
    answer = await client.post(
        "/api/v1/keys", json={"name": "x", "role": "viewer"}, headers=make.bearing(text)
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    answer = await client.post(
        "/api/v1/keys", json={"name": "x", "scopes": ["events:read"]}, headers=make.bearing(text)
    )
    assert answer.status_code == 201
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 2


async def test_a_failed_commit_is_never_a_201(
    client: httpx.AsyncClient,
    admin: dict[str, str],
    resources: Resources,
    database: Clone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL goes away after the last statement of the request and before its commit."""
    create_key = keys.create_key

    async def then_cut(tx: Tx, *args: Any, **named: Any) -> Any:
        made = await create_key(tx, *args, **named)
        superuser = await asyncpg.connect(database.superuser_url)
        await superuser.execute(
            "SELECT pg_terminate_backend($1)", await tx.fetch_value("SELECT pg_backend_pid()")
        )
        await superuser.close()
        return made

    with monkeypatch.context() as patched:
        patched.setattr(keys, "create_key", then_cut)
        answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    assert "gh_" not in answer.text
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 1


async def test_the_row_is_there_when_the_answer_is(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=admin)
    async with system_transaction(resources.database) as tx:
        found = await tx.fetch_value(
            "SELECT name FROM api_keys WHERE key_id = $1::text::uuid", answer.json()["id"]
        )
    assert found == "x"


async def test_pages_of_keys(client: httpx.AsyncClient, admin: dict[str, str], resources: Resources) -> None:
    for number in range(4):
        await client.post("/api/v1/keys", json={"name": str(number)}, headers=admin)
    names: list[str] = []
    query = "limit=2"
    while True:
        page = (await client.get(f"/api/v1/keys?{query}", headers=admin)).json()
        names += [key["name"] for key in page["data"]]
        if not page["pagination"]["has_more"]:
            break
        query = f"limit=2&cursor={page['pagination']['cursor']}"
    assert names == ["3", "2", "1", "0", "test"]
    _, other = await make.key(resources, await make.tenant(resources, "other"))
    refused = await client.get(f"/api/v1/keys?{query}", headers=make.bearing(other))
    assert (refused.status_code, refused.json()["reason"]) == (400, "filters_changed")
    elsewhere = await client.get(f"/api/v1/agents?{query}", headers=admin)
    assert (elsewhere.status_code, elsewhere.json()["reason"]) == (400, "filters_changed")


async def test_two_tenants_may_have_agents_of_one_id(client: httpx.AsyncClient, resources: Resources) -> None:
    for slug in ("a", "b"):
        _, text = await make.key(resources, await make.tenant(resources, slug))
        made = await client.post(
            "/api/v1/agents", json={"id": "web-1", "name": slug}, headers=make.bearing(text)
        )
        assert made.status_code == 201
        got = await client.get("/api/v1/agents/web-1", headers=make.bearing(text))
        assert got.json()["name"] == slug
