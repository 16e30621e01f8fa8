from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.usage import store
from guardhouse.usage.jobs import keep_log, write_for
from guardhouse.usage.limits import Limiter
from guardhouse.usage.log import BATCH_ROWS, DROPPED, UsageLog
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.usage.make import Someone, give_plan, log_rows, until_logged

REQUEST = ("GET", "/api/v1/me", 200, 0, 1000)


def context_of(resources: Resources) -> JobContext:
    job = ClaimedJob(1, "x", "null", None, "platform", 1, 0, resources.clock.now(), "")
    return JobContext(resources, job)


async def rows_of(resources: Resources) -> list[tuple[str, str, int]]:
    async with system_transaction(resources.database) as tx:
        found = await tx.fetch("SELECT method, endpoint, status FROM usage_log ORDER BY at")
    return [(row["method"], row["endpoint"], row["status"]) for row in found]


async def test_every_answer_to_a_known_caller_is_one_row(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant, "viewer")
    await give_plan(resources, tenant.id, per_minute=5)
    asked = [
        ("GET", "/api/v1/me", 200),
        ("HEAD", "/api/v1/me", 200),
        ("GET", f"/api/v1/admin/users/{key.id}/usage", 403),
        ("GET", "/api/v1/usage/requests?by=hour", 422),
        ("GET", "/api/v1/usage/plan", 200),
        ("GET", "/api/v1/me", 429),
    ]
    for method, path, status in asked:
        answer = await client.request(method, path, headers=make.bearing(text))
        assert answer.status_code == status, (path, answer.text)
    assert (await client.get("/api/v1/me")).status_code == 401
    assert (await client.get("/healthz", headers=make.bearing(text))).status_code == 200
    await until_logged(resources, tenant.id, 6)
    templates = [
        (method, path.partition("?")[0].replace(str(key.id), "{key_id}"), s) for method, path, s in asked
    ]
    assert await rows_of(resources) == templates
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT * FROM usage_log ORDER BY at LIMIT 1")
    assert row is not None
    assert (row["tenant_id"], row["kind"], row["credential"]) == (tenant.id, "key", str(key.id))
    assert row["response_time_us"] > 0
    assert row["items"] == 1
    assert row["decisions"] is None


async def test_what_waits_is_written_at_the_end(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    async with api.client_of(resources) as client:
        for _ in range(3):
            await client.get("/api/v1/me", headers=make.bearing(text))
    assert len(await rows_of(resources)) == 3


async def test_a_full_batch_is_written_at_once_and_too_many_rows_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guardhouse.usage.log.MOST_ROWS", BATCH_ROWS + 5)
    log, caller, now = UsageLog(), Someone().caller(), datetime.now(UTC)
    before = DROPPED._value.get()
    for number in range(BATCH_ROWS + 8):
        assert log.full.is_set() == (number >= BATCH_ROWS)
        log.note(now, caller, REQUEST)
    assert DROPPED._value.get() - before == 3
    assert len(log) == BATCH_ROWS + 5
    (rows,) = log.take(now).values()
    assert not log.full.is_set()
    log.note(now, caller, REQUEST)
    log.give_back(rows)
    assert len(log) == BATCH_ROWS + 5
    assert DROPPED._value.get() - before == 4


async def test_a_row_too_late_for_its_days_sum_is_dropped() -> None:
    log, caller, now = UsageLog(), Someone().caller(), datetime(2026, 3, 1, 0, 20, tzinfo=UTC)
    log.note(now - timedelta(minutes=31), caller, REQUEST)
    log.note(now - timedelta(minutes=29), caller, REQUEST)
    log.note(now, caller, REQUEST)
    days = log.take(now)
    assert {str(day): len(rows) for day, rows in days.items()} == {"2026-02-28": 1, "2026-03-01": 1}


async def test_rows_wait_while_the_database_is_away(
    resources: Resources, tmp_path: Path, database_url: str
) -> None:
    log, caller = UsageLog(), Someone().caller()
    log.note(datetime.now(UTC), caller, REQUEST)
    nowhere = database_url.rpartition("@")[0] + "@127.0.0.1:9/none"
    async with opened(nowhere, tmp_path) as cut:
        with pytest.raises(Exception, match="cannot serve"):
            await write_for(cut, Limiter(cut), log)()
    assert len(log) == 1
    await write_for(resources, Limiter(resources), log)()
    assert len(log) == 0
    assert len(await rows_of(resources)) == 1


async def test_days_are_made_summed_and_dropped(database_url: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = SetClock(now)
    async with opened(database_url, tmp_path, clock=clock) as resources:
        tenant = await make.tenant(resources)
        await log_rows(resources, tenant.id, ["a", "b"], now - timedelta(days=3), 60)
        await keep_log.run(context_of(resources))
        async with system_transaction(resources.database) as tx:
            days = await store.list_days(tx)
            summed = await tx.fetch_value("SELECT sum(requests) FROM usage_daily")
            logged = await tx.fetch_value(
                "SELECT count(*) FROM usage_log WHERE at < date_trunc('day', $1::timestamptz AT TIME ZONE 'UTC')"
                " AT TIME ZONE 'UTC'",
                now - timedelta(hours=1),
            )
        assert days[-1] == now.date() + timedelta(days=7)
        assert summed == logged > 0
        clock.move(92 * 86_400)
        await keep_log.run(context_of(resources))
        async with system_transaction(resources.database) as tx:
            kept = await store.list_days(tx)
            assert await tx.fetch_value("SELECT sum(requests) FROM usage_daily") == 60
        assert kept[0] >= clock.now().date() - timedelta(days=91)
        assert kept[-1] == clock.now().date() + timedelta(days=7)
