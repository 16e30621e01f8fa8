from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.identity.store import Tenant
from server.tests.audit.make import Owner, fill, owner_of
from server.tests.identity import make


@pytest.fixture
async def acme(resources: Resources) -> Tenant:
    return await make.tenant(resources)


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator[Owner]:
    async with owner_of(owner_url) as found:
        yield found


@pytest.fixture
async def admin(resources: Resources, acme: Tenant, owner: Owner) -> dict[str, str]:
    """Return the header of an admin's key, in a log that is empty still."""
    _, text = await make.key(resources, acme)
    await owner.forget()
    return make.bearing(text)


async def add(resources: Resources, tenant: Tenant, actor: str, action: str, target: str) -> None:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await record(tx, Actor(tenant.id, actor), Entry(action, target, after={"x": 1}, reason="why"))


async def listed(client: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> list[str]:
    """Return the actions of a page, newest first."""
    answer = await client.get(f"/api/v1/audit{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return [entry["action"] for entry in answer.json()["data"]]


async def test_who_where_and_with_what_is_recorded(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    sent = admin | {"User-Agent": "probe/1", "X-Correlation-ID": "probe-7"}
    assert (await client.post("/api/v1/agents", json={"id": "web-1"}, headers=sent)).status_code == 201
    (entry,) = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
    me = (await client.get("/api/v1/me", headers=admin)).json()["credential_id"]
    assert (entry["actor"], entry["credential"]) == (f"key:{me}", me)
    assert (entry["action"], entry["target"], entry["seq"]) == ("agent.enroll", "agent:web-1", 1)
    assert (entry["ip"], entry["user_agent"], entry["correlation_id"]) == ("127.0.0.1", "probe/1", "probe-7")
    assert entry["prev_hash"] == ""
    assert len(entry["hash"]) == 64


async def test_filters(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str]
) -> None:
    await add(resources, acme, "key:1", "key.create", "key:7")
    await add(resources, acme, "key:2", "key.revoke", "key:7")
    await add(resources, acme, "user:1", "agent.enroll", "agent:web-1")
    every = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
    assert [entry["seq"] for entry in every] == [3, 2, 1]
    for query, expected in {
        "?actor=key:2": ["key.revoke"],
        "?actor=key:*": ["key.revoke", "key.create"],
        "?action=key.*": ["key.revoke", "key.create"],
        "?action=key.revoke": ["key.revoke"],
        "?action=key": [],
        "?action=%25.revoke": [],
        "?target=agent:web-1": ["agent.enroll"],
        "?target=key:7&actor=key:1": ["key.create"],
        "?since=2020-01-01T00:00:00Z&until=2020-02-01T00:00:00Z": [],
        "?since=2020-01-01T00:00:00Z": ["agent.enroll", "key.revoke", "key.create"],
        "?until=2020-01-01T00:00:00Z": [],
    }.items():
        assert await listed(client, admin, query) == expected, query


@pytest.mark.parametrize(
    "query", ["?actor=", "?since=yesterday", "?since=2026-01-01T00:00:00", "?until=0.5", "?limit=0", "?who=me",
              "?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z", f"?action={'a' * 301}"],
)  # fmt: skip
async def test_filters_that_make_no_sense(
    client: httpx.AsyncClient, admin: dict[str, str], query: str
) -> None:
    assert (await client.get(f"/api/v1/audit{query}", headers=admin)).status_code == 422


async def test_pages(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str]
) -> None:
    await fill(resources, acme, 5)
    seen, query = [], "?limit=2&actor=key:1"
    while query:
        page = (await client.get(f"/api/v1/audit{query}", headers=admin)).json()
        seen += [entry["seq"] for entry in page["data"]]
        await add(resources, acme, "key:1", "thing.change", "thing:new")  # the log grows meanwhile
        cursor = page["pagination"]["cursor"]
        query = f"?limit=2&actor=key:1&cursor={cursor}" if cursor else ""
    assert seen == [5, 4, 3, 2, 1]


async def test_billing_sees_its_own_area(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant
) -> None:
    key, text = await make.key(resources, acme, "billing")
    for actor, action in (
        ("key:1", "key.create"),
        ("key:1", "ledger.top_up"),
        ("key:1", "budget.set"),
        ("key:1", "planet.discover"),
        (f"key:{key.id}", "session.open"),
    ):
        await add(resources, acme, actor, action, "x:1")
    headers = make.bearing(text)
    assert await listed(client, headers) == ["session.open", "budget.set", "ledger.top_up"]
    assert await listed(client, headers, "?action=key.*") == []
    for path in ("verify", "export", "heads"):
        refused = await client.get(f"/api/v1/audit/{path}", headers=headers)
        assert (refused.status_code, refused.json()["required_scope"]) == (403, "audit:read")


async def test_a_tenant_sees_its_own_log_only(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str], owner: Owner
) -> None:
    _, foreign = await make.key(resources, await make.tenant(resources, "other"))
    await owner.forget()
    await add(resources, acme, "key:1", "key.create", "key:7")
    assert await listed(client, make.bearing(foreign)) == []
    assert (await client.get("/api/v1/audit/verify", headers=make.bearing(foreign))).json()["last_seq"] == 0
    exported = (await client.get("/api/v1/audit/export", headers=make.bearing(foreign))).text
    assert "key:7" not in exported
    assert await listed(client, admin) == ["key.create"]


async def test_staff_that_reads_is_recorded_where_it_read(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str]
) -> None:
    await add(resources, acme, "key:1", "key.create", "key:7")
    staff_key, text = await make.key(resources, await make.tenant(resources, "platform"), "platform")
    url = f"/api/v1/admin/tenants/{acme.id}/audit"
    read = await client.get(f"{url}?action=key.*", headers=make.bearing(text))
    assert [entry["action"] for entry in read.json()["data"]] == ["key.create"]
    (last, _) = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
    assert (last["action"], last["actor"]) == ("audit.read", f"platform:key:{staff_key.id}")
    assert last["after"] == {"filter": {"action": "key.*"}}
    refused = await client.get(url, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    unknown = await client.get(f"/api/v1/admin/tenants/{uuid4()}/audit", headers=make.bearing(text))
    assert unknown.status_code == 404


async def test_verification_over_the_api(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str], owner: Owner
) -> None:
    await fill(resources, acme, 4)
    good = (await client.get("/api/v1/audit/verify", headers=admin)).json()
    assert (good["ok"], good["first_seq"], good["last_seq"], good["entries"]) == (True, 1, 4, 4)
    assert (good["start_hash"], len(good["end_hash"])) == ("", 64)
    await owner.run("UPDATE audit_log SET reason = 'x' WHERE seq = 3")
    bad = (await client.get("/api/v1/audit/verify", headers=admin)).json()
    assert (bad["ok"], bad["broken"], bad["end_hash"]) == (False, {"seq": 3, "fault": "altered"}, None)
    assert (await client.get("/api/v1/audit/verify?to=2", headers=admin)).json()["ok"]
