import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.identity import make
from server.tests.usage.make import log_rows

VERDICT = """
INSERT INTO usage_log (at, tenant_id, kind, credential, method, endpoint, status, request_bytes, response_time_us,
                       items, channel, decisions, threat_types, malicious_count, max_score_milli, degraded, cached)
VALUES ($1, $2, 'key', $3, 'POST', '/api/v1/detect', 200, 10, 900, 2, 'prompt', '{"block": 1, "allow": 1}',
        '{jailbreak,leak}', 1, 910, false, true)
"""


async def test_stats_equal_a_select_over_the_log(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant, other = await make.tenant(resources), await make.tenant(resources, "other")
    key, text = await make.key(resources, tenant)
    now = datetime.now(UTC)
    await log_rows(resources, tenant.id, [str(key.id), str(uuid4())], now - timedelta(hours=40), 300)
    await log_rows(resources, other.id, [str(uuid4())], now - timedelta(hours=40), 70)
    async with system_transaction(resources.database) as tx:
        await tx.run(VERDICT, now - timedelta(minutes=5), tenant.id, str(key.id))
        await tx.run(VERDICT, now - timedelta(minutes=5), other.id, str(key.id))
    found = (await client.get("/api/v1/admin/stats", headers=make.bearing(text))).json()
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row(
            "SELECT count(*) AS n, count(*) FILTER (WHERE status = 429) AS limited, avg((status >= 500)::int) AS rate,"
            " count(DISTINCT credential) AS keys,"
            " percentile_disc(0.5) WITHIN GROUP (ORDER BY response_time_us) AS p50,"
            " percentile_disc(0.99) WITHIN GROUP (ORDER BY response_time_us) AS p99"
            " FROM usage_log WHERE tenant_id = $1 AND at > $2",
            tenant.id,
            now - timedelta(hours=24),
        )
    assert row is not None
    lately = found["last_24h"]
    assert found["total"]["requests"] == 301
    assert (lately["requests"], lately["limited"], found["active_keys"]) == (
        row["n"],
        row["limited"],
        row["keys"],
    )
    assert lately["error_rate"] == pytest.approx(float(row["rate"]))
    assert (lately["p50_ms"], lately["p99_ms"]) == (row["p50"] / 1000, row["p99"] / 1000)
    assert found["by_decision"] == {"allow": 1, "block": 1}
    assert found["by_threat_type"] == {"jailbreak": 1, "leak": 1}
    assert found["by_channel"] == {"prompt": 1}


async def test_nothing_yet_is_zero_and_not_an_error(client: httpx.AsyncClient, resources: Resources) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    stats = (await client.get("/admin/stats", headers=make.bearing(text))).json()
    assert stats["total"]["requests"] == 0
    assert stats["last_24h"]["p50_ms"] is None
    assert stats["last_24h"]["error_rate"] == 0
    threats = (await client.get("/admin/threats?hours=1", headers=make.bearing(text))).json()
    assert (threats["by_threat_type"], threats["malicious_by_hour"]) == ({}, {})


async def test_users_are_keys_with_what_they_used(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    quiet, _ = await make.key(resources, tenant, "viewer")
    now = datetime.now(UTC)
    await log_rows(resources, tenant.id, [str(key.id)], now - timedelta(hours=48), 48)
    async with system_transaction(resources.database) as tx:
        await tx.run(VERDICT, now - timedelta(minutes=5), tenant.id, str(key.id))
    first = (await client.get("/admin/users?limit=1", headers=make.bearing(text))).json()
    second = (
        await client.get(
            "/admin/users",
            params={"limit": 1, "cursor": first["pagination"]["cursor"]},
            headers=make.bearing(text),
        )
    ).json()
    users = {user["id"]: user for user in first["data"] + second["data"]}
    assert set(users) == {str(key.id), str(quiet.id)}
    assert users[str(key.id)]["requests_total"] == 49
    assert 24 <= users[str(key.id)]["requests_24h"] <= 25 + 1
    assert users[str(key.id)]["malicious_24h"] == 1
    assert users[str(quiet.id)]["requests_total"] == 0
    assert users[str(key.id)]["owner"] == key.created_by


async def test_usage_of_a_key_by_id_and_by_prefix_and_never_by_itself(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant, other = await make.tenant(resources), await make.tenant(resources, "other")
    key, text = await make.key(resources, tenant)
    foreign, _ = await make.key(resources, other)
    await log_rows(resources, tenant.id, [str(key.id)], datetime.now(UTC) - timedelta(days=3), 30)
    for path in (f"/admin/users/{key.id}/usage", f"/admin/usage/{key.id}", f"/admin/usage/{key.prefix}"):
        found = (await client.get(path, headers=make.bearing(text))).json()
        assert found["user"]["id"] == str(key.id)
        assert sum(day["requests"] for day in found["days"]) == found["total"]["requests"] == 30
        assert "api_key" not in found["user"]
    for path in (f"/admin/usage/{foreign.id}", f"/admin/usage/{foreign.prefix}", "/admin/usage/nobody"):
        assert (await client.get(path, headers=make.bearing(text))).status_code == 404
    answer = await client.get(f"/admin/usage/{text}", headers=make.bearing(text))
    assert (answer.status_code, answer.json()["code"]) == (400, "raw_key_in_url")
    assert text not in answer.text


async def test_a_suspended_key_opens_nothing_until_it_is_reactivated(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant, other = await make.tenant(resources), await make.tenant(resources, "other")
    _, admin = await make.key(resources, tenant)
    key, text = await make.key(resources, tenant, "viewer")
    foreign, _ = await make.key(resources, other)
    for action, state, status in (("suspend", "suspended", 401), ("reactivate", "active", 200)):
        for _ in range(2):
            answer = await client.post(f"/admin/users/{key.id}/{action}", headers=make.bearing(admin))
            assert (answer.status_code, answer.json()["state"]) == (200, state)
        deadline = time.monotonic() + 30
        while (await client.get("/api/v1/me", headers=make.bearing(text))).status_code != status:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        answer = await client.post(f"/admin/users/{foreign.id}/{action}", headers=make.bearing(admin))
        assert answer.status_code == 404
    assert (await client.delete(f"/api/v1/keys/{key.id}", headers=make.bearing(admin))).status_code == 200
    answer = await client.post(f"/admin/users/{key.id}/reactivate", headers=make.bearing(admin))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT action FROM audit_log WHERE target = $1 ORDER BY seq", f"key:{key.id}")
    assert [row["action"] for row in rows if row["action"] != "key.create"] == [
        "key.update",
        "key.update",
        "key.revoke",
    ]


async def test_performance_is_by_operation(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    await log_rows(resources, tenant.id, ["a"], datetime.now(UTC) - timedelta(hours=1), 30)
    found = (await client.get("/admin/performance?hours=2", headers=make.bearing(text))).json()["data"]
    assert sum(line["requests"] for line in found) == 30
    assert [line["requests"] for line in found] == sorted((line["requests"] for line in found), reverse=True)
    assert all(line["p50_ms"] <= line["p95_ms"] <= line["p99_ms"] for line in found)
    for hours in ("0", "169", "x"):
        answer = await client.get(f"/admin/performance?hours={hours}", headers=make.bearing(text))
        assert answer.status_code == 422


async def test_plans_are_the_platforms_and_hold_at_once(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant, house = await make.tenant(resources), await make.tenant(resources, "platform")
    _, text = await make.key(resources, tenant)
    _, staff = await make.key(resources, house, "platform")
    assert (
        await client.put("/api/v1/admin/plans/small", json={}, headers=make.bearing(text))
    ).status_code == 403
    made = await client.put(
        "/api/v1/admin/plans/small", json={"requests_per_minute": 3}, headers=make.bearing(staff)
    )
    assert (made.status_code, made.headers["etag"]) == (200, '"1"')
    again = await client.put("/api/v1/admin/plans/small", json={}, headers=make.bearing(staff))
    assert again.status_code == 428
    stale = make.bearing(staff) | {"If-Match": '"7"'}
    assert (await client.put("/api/v1/admin/plans/small", json={}, headers=stale)).status_code == 412
    fresh = make.bearing(staff) | {"If-Match": made.headers["etag"]}
    changed = await client.put("/api/v1/admin/plans/small", json={"requests_per_minute": 2}, headers=fresh)
    assert changed.json() == {
        "name": "small", "requests_per_minute": 2, "requests_per_day": None, "version": 2,
    }  # fmt: skip
    given = await client.put(
        f"/api/v1/admin/tenants/{tenant.id}/plan", json={"plan": "small"}, headers=make.bearing(staff)
    )
    assert given.status_code == 200
    deadline = time.monotonic() + 30
    while (await client.get("/api/v1/me", headers=make.bearing(text))).status_code != 429:
        assert time.monotonic() < deadline
    names = [
        plan["name"]
        for plan in (await client.get("/admin/plans", headers=make.bearing(staff))).json()["data"]
    ]
    assert names == ["basic", "small", "unlimited"]
    async with system_transaction(resources.database) as tx:
        actions = [row["action"] for row in await tx.fetch("SELECT action FROM audit_log ORDER BY at, seq")]
    assert [action for action in actions if "plan" in action] == [
        "plan.create",
        "plan.update",
        "tenant.set_plan",
    ]


@pytest.mark.parametrize(
    "body", [{"requests_per_minute": 0}, {"requests_per_day": -1}, {"requests_per_hour": 1}, []]
)
async def test_a_plan_that_is_none(client: httpx.AsyncClient, resources: Resources, body: object) -> None:
    _, staff = await make.key(resources, await make.tenant(resources, "platform"), "platform")
    answer = await client.put("/api/v1/admin/plans/small", json=body, headers=make.bearing(staff))
    assert answer.status_code == 422


async def test_plans_and_tenants_that_are_not_there(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources, "platform")
    _, staff = await make.key(resources, tenant, "platform")
    for path, plan in (
        (f"/api/v1/admin/tenants/{uuid4()}/plan", "basic"),
        (f"/api/v1/admin/tenants/{tenant.id}/plan", "none"),
    ):
        answer = await client.put(path, json={"plan": plan}, headers=make.bearing(staff))
        assert answer.status_code == 404
    assert (await client.get("/api/v1/admin/plans/none", headers=make.bearing(staff))).status_code == 404
    assert (await client.get("/api/v1/admin/plans/basic", headers=make.bearing(staff))).headers[
        "etag"
    ] == '"1"'
