"""The platform looks after tenants; a suspended one is refused everywhere within a second."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components import hosts
from server.tests.components.hosts import Host
from server.tests.identity import make

PATH = "/api/v1/admin/tenants"


@pytest.fixture
async def platform(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources, "platform"), "platform")
    return make.bearing(text)


async def created(client: httpx.AsyncClient, platform: dict[str, str], slug: str = "acme") -> str:
    answer = await client.post(PATH, json={"slug": slug, "name": slug.title()}, headers=platform)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    return str(answer.json()["id"])


async def becomes(client: httpx.AsyncClient, headers: dict[str, str], code: str) -> None:
    """Wait until a key is answered so."""
    found = ""
    async with asyncio.timeout(20):
        while found != code:
            answer = await client.get("/api/v1/me", headers=headers)
            found = "good" if answer.status_code == 200 else answer.json()["code"]
            await asyncio.sleep(0.01)


async def test_tenants_are_made_listed_and_shown(client: httpx.AsyncClient, platform: dict[str, str]) -> None:
    ids = [await created(client, platform, slug) for slug in ("b", "a", "c")]
    seen, query = [], "limit=2"
    while True:
        page = (await client.get(f"{PATH}?{query}", headers=platform)).json()
        seen += [tenant["slug"] for tenant in page["data"]]
        if not page["pagination"]["has_more"]:
            break
        query = f"limit=2&cursor={page['pagination']['cursor']}"
    assert seen == ["platform", "b", "a", "c"]
    shown = (await client.get(f"{PATH}/{ids[0]}", headers=platform)).json()
    assert (shown["slug"], shown["name"], shown["state"]) == ("b", "B", "active")
    assert (await client.get(f"{PATH}/{uuid4()}", headers=platform)).status_code == 404
    again = await client.post(PATH, json={"slug": "b", "name": "B"}, headers=platform)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "body",
    [{}, {"slug": "a"}, {"slug": "A", "name": "a"}, {"slug": "a.test", "name": "a"}, {"slug": "a", "name": ""},
     {"slug": "a\n", "name": "a"}, {"slug": "a" * 64, "name": "a"}, {"slug": "a", "name": "a", "state": "closed"}],
)  # fmt: skip
async def test_what_a_tenant_may_not_be(
    client: httpx.AsyncClient, platform: dict[str, str], body: dict[str, Any]
) -> None:
    assert (await client.post(PATH, json=body, headers=platform)).status_code == 422


async def test_a_suspended_tenant_is_refused_everywhere_and_comes_back(
    client: httpx.AsyncClient, resources: Resources, platform: dict[str, str]
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    _, test_text = await make.key(resources, tenant, env="test")
    live, test = make.bearing(text), make.bearing(test_text)
    agent = await make.agent_key(resources, tenant)
    for headers in (live, test):
        await becomes(client, headers, "good")
    path = f"{PATH}/{tenant.id}"
    for _ in range(2):
        answer = await client.post(f"{path}/suspend", json={"reason": "unpaid"}, headers=platform)
        assert (answer.status_code, answer.json()["state"]) == (200, "suspended")
    for headers in (live, test):
        await becomes(client, headers, "tenant_suspended")
    host = Host(client, text)
    sent = await host.send([hosts.call()])
    assert (sent.status_code, sent.json()["code"]) == (403, "tenant_suspended")
    signed = make.signed_request(agent.key_id, agent.secret)
    refused = await client.post("/api/v1/events", content=signed.body, headers=dict(signed.headers))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    listed = (await client.get(f"{PATH}?state=suspended", headers=platform)).json()["data"]
    assert [found["slug"] for found in listed] == ["acme"]
    assert (await client.post(f"{path}/activate", headers=platform)).json()["state"] == "active"
    for headers in (live, test):
        await becomes(client, headers, "good")
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT action, reason, tenant_id = $1 AS its FROM audit_log WHERE action LIKE 'tenant.%' ORDER BY at, its",
            tenant.id,
        )
    said = [(row["action"], row["reason"], row["its"]) for row in rows]
    assert said == [
        (action, reason, its)
        for action, reason in (("tenant.suspend", "unpaid"), ("tenant.activate", None))
        for its in (False, True)
    ]


async def test_closed_is_for_good_and_the_platform_stays(
    client: httpx.AsyncClient, platform: dict[str, str]
) -> None:
    closed = await created(client, platform)
    for _ in range(2):
        assert (await client.post(f"{PATH}/{closed}/close", headers=platform)).json()["state"] == "closed"
    for verb in ("activate", "suspend"):
        answer = await client.post(f"{PATH}/{closed}/{verb}", headers=platform)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    (own,) = [
        tenant["id"]
        for tenant in (await client.get(PATH, headers=platform)).json()["data"]
        if tenant["slug"] == "platform"
    ]
    for verb in ("suspend", "close"):
        assert (await client.post(f"{PATH}/{own}/{verb}", headers=platform)).status_code == 409
        assert (await client.post(f"{PATH}/{uuid4()}/{verb}", headers=platform)).status_code == 404


async def test_a_tenants_admin_does_not_reach_across(
    client: httpx.AsyncClient, resources: Resources, platform: dict[str, str]
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    assert platform
    for method, path in (
        ("GET", PATH),
        ("GET", f"{PATH}/{tenant.id}"),
        ("POST", f"{PATH}/{tenant.id}/suspend"),
    ):
        answer = await client.request(method, path, headers=make.bearing(text))
        assert (answer.status_code, answer.json()["required_scope"]) == (403, "platform")
