import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.usage import daily
from server.tests.components.postgres import Clone
from server.tests.identity import make
from server.tests.usage.make import give_plan, log_rows, until_logged

COLUMNS = {"requests", "client_errors", "server_errors", "limited", "items", "request_bytes"}
RECOUNT = """
SELECT {group} AS name, count(*) AS requests, count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
       count(*) FILTER (WHERE status >= 500) AS server_errors, count(*) FILTER (WHERE status = 429) AS limited,
       sum(items) AS items, sum(request_bytes) AS request_bytes
FROM usage_log WHERE tenant_id = $1 AND at >= $2 AND at < $3 GROUP BY 1
"""
GROUPS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "key": ("credential", lambda line: line["credential_id"]),
    "endpoint": ("method || ' ' || endpoint", lambda line: f"{line['method']} {line['endpoint']}"),
    "day": ("(at AT TIME ZONE 'UTC')::date::text", lambda line: line["day"]),
}


async def recount(
    database: Clone, group: str, tenant_id: UUID, first: datetime, last: datetime
) -> dict[str, Any]:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        rows = await connection.fetch(RECOUNT.format(group=group), tenant_id, first, last)
    finally:
        await connection.close()
    return {row["name"]: {column: row[column] for column in COLUMNS} for row in rows}


async def test_usage_adds_up_with_the_log_by_key_endpoint_and_day(
    client: httpx.AsyncClient, resources: Resources, database: Clone
) -> None:
    """Also for days that are summed already, and for requests made a moment ago over HTTP."""
    tenant, other = await make.tenant(resources), await make.tenant(resources, "other")
    key, text = await make.key(resources, tenant)
    _, foreign = await make.key(resources, other)
    now = datetime.now(UTC)
    await log_rows(resources, tenant.id, [str(key.id), str(uuid4())], now - timedelta(days=5), 400)
    await log_rows(resources, other.id, [str(uuid4())], now - timedelta(days=5), 50)
    async with system_transaction(resources.database) as tx:
        settled = await daily.settled_days(tx, now)
        assert len(settled) >= 3
        for day in settled[:3]:
            assert await daily.sum_day(tx, day, now)
            assert not await daily.sum_day(tx, day, now)
    for _ in range(3):
        assert (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 200
    assert (await client.get("/api/v1/keys/no-uuid", headers=make.bearing(text))).status_code == 422
    assert (await client.get("/api/v1/me", headers=make.bearing(foreign))).status_code == 200
    await until_logged(resources, tenant.id, 404)
    first = (now - timedelta(days=10)).date()
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    for by, (group, name) in GROUPS.items():
        answer = await client.get(
            "/api/v1/usage/requests", params={"from": str(first), "by": by}, headers=make.bearing(text)
        )
        found = answer.json()
        assert answer.status_code == 200, found
        expected = await recount(database, group, tenant.id, begin, now + timedelta(days=1))
        for line in found["data"]:
            assert {column: line[column] for column in COLUMNS} == expected.pop(name(line))
        assert not expected
        assert found["total"]["requests"] == sum(line["requests"] for line in found["data"])
        await until_logged(resources, tenant.id, 405 + list(GROUPS).index(by))


async def test_own_usage_is_all_that_usage_own_shows(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant, "agent")
    await log_rows(resources, tenant.id, [str(key.id)], datetime.now(UTC) - timedelta(hours=1), 5)
    await log_rows(resources, tenant.id, [str(uuid4())], datetime.now(UTC) - timedelta(hours=1), 7)
    found = (await client.get("/api/v1/usage/requests?by=key", headers=make.bearing(text))).json()
    assert [line["credential_id"] for line in found["data"]] == [str(key.id)]
    assert found["total"]["requests"] == 5


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("from=yesterday", "from"),
        ("from=0", "from"),
        ("to=2026-02-30", "to"),
        ("from=1999-12-31&to=2000-01-02", "from"),
        ("to=0001-01-01", "from"),
        ("from=2024-01-01&to=2026-01-01", "from"),
        ("by=hour", "by"),
        ("since=2026-01-01", "since"),
    ],
)
async def test_a_span_that_is_none(
    client: httpx.AsyncClient, resources: Resources, query: str, parameter: str
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    answer = await client.get(f"/api/v1/usage/requests?{query}", headers=make.bearing(text))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == parameter


async def test_the_plan_shows_what_is_left_and_charges_nothing_extra(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    first = (await client.get("/api/v1/usage/plan", headers=make.bearing(text))).json()
    assert first == {"plan": "unlimited", "requests_per_minute": None, "requests_per_day": None, "limits": []}
    plan = await give_plan(resources, tenant.id, per_minute=1000, per_day=5000)
    deadline = time.monotonic() + 30
    while (found := (await client.get("/api/v1/usage/plan", headers=make.bearing(text))).json()) == first:
        assert time.monotonic() < deadline
    again = (await client.get("/api/v1/usage/plan", headers=make.bearing(text))).json()
    assert found["plan"] == again["plan"] == plan.name
    assert [limit["name"] for limit in again["limits"]] == ["tenant-minute", "tenant-day"]
    for before, after in zip(found["limits"], again["limits"], strict=True):
        assert after["left"] == before["left"] - 1  # the call itself, and nothing for looking


async def test_the_profile_counts_the_calling_key(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    await log_rows(resources, tenant.id, [str(uuid4())], datetime.now(UTC) - timedelta(seconds=30), 7)
    await log_rows(resources, tenant.id, [str(key.id)], datetime.now(UTC) - timedelta(seconds=30), 4)
    found = (await client.get("/auth/profile", headers=make.bearing(text))).json()
    assert found["key_id"] == str(key.id)
    assert (found["total_requests"], found["requests_this_minute"]) == (4, 4)
    assert found["policy"] is None
    assert (found["malicious_detections"], found["decisions"]) == (0, {})


async def test_the_day_is_the_clocks(resources: Resources) -> None:
    clock = SetClock(datetime(2026, 3, 1, 0, 30, tzinfo=UTC))
    async with system_transaction(resources.database) as tx:
        assert clock.now().date() - timedelta(days=1) not in await daily.settled_days(tx, clock.now())
