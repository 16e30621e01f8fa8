"""Quotas of projects: each lane on its own, never the oldest client, never status; noise goes first."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, batch, counts, open_door


@pytest.fixture
async def narrow(database: Clone, tmp_path: Path) -> AsyncIterator[Door]:
    """A door where three requests a minute, ten items in ten seconds and noise of fewer fit."""
    small: dict[str, Any] = {
        "telemetry_requests_per_minute": 3,
        "telemetry_hard_per_second": 1,
        "telemetry_soft_per_second": 1,
    }
    async with (
        opened(database.database_url, tmp_path, **small) as resources,
        open_door(resources, database.superuser_url) as door,
    ):
        yield door


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.json()["code"] == "telemetry_quota_reached"
    assert 5 <= int(answer.headers["Retry-After"]) <= 15
    return True


async def test_requests_of_one_lane_wait_and_others_go_on(narrow: Door) -> None:
    sent = [await narrow.events(batch(batch_id=f"b-{n}")) for n in range(4)]
    assert [refused(answer) for answer in sent] == [False, False, False, True]
    assert counts(await narrow.post("/api/v1/metrics", batch())) == (0, 0, 0, 0)
    assert counts(await narrow.events(batch(), x_project_id="other")) == (0, 0, 0, 0)
    assert (await narrow.post("/api/v1/status", {"status": "healthy"})).status_code == 200
    oldest = await narrow.events(batch(batch_id="b-9"), user_agent="FastAPI-Guard-Agent/1.1.0")
    assert counts(oldest) == (0, 0, 0, 0)


async def test_items_beyond_the_hard_limit_are_not_stored(narrow: Door) -> None:
    events = [narrow.event(idempotency_key=f"k{n}") for n in range(10)]
    assert counts(await narrow.events(batch(events))) == (10, 0, 0, 0)
    assert refused(await narrow.events(batch([narrow.event()], batch_id="b-2")))
    assert await narrow.count("events") == 10
    assert await narrow.count("telemetry_receipts") == 1
    metrics = batch(metrics=[narrow.metric()])
    assert counts(await narrow.post("/api/v1/metrics", metrics)) == (1, 0, 0, 0)


async def test_beyond_the_soft_limit_noise_is_rolled_up_whatever_its_kind(narrow: Door) -> None:
    made = await narrow.client.post(
        "/api/v1/projects",
        json={"slug": "shop", "settings": {"keep_noise": True}},
        headers={"x-api-key": narrow.key},
    )
    assert made.status_code == 201
    noise = [
        narrow.event(
            event_type="suspicious_request",
            reason=reason,
            timestamp="2026-01-01T00:00:00Z",
            idempotency_key=reason,
        )
        for reason in ("one kind", "another kind")
    ]
    kept = await narrow.events(batch(noise), x_project_id="shop")
    assert counts(kept) == (2, 0, 0, 0)
    more = [noise[0] | {"idempotency_key": f"k{n}", "reason": f"kind {'abcd'[n % 4]}"} for n in range(8)]
    assert counts(await narrow.events(batch(more, batch_id="b-2"), x_project_id="shop")) == (8, 0, 0, 0)
    flood = [noise[0] | {"idempotency_key": "m1"}, noise[1] | {"idempotency_key": "m2"}]
    url = "/api/v1/metrics"  # the other lane: its own hard limit, the same soft one
    assert counts(await narrow.post(url, batch(flood, batch_id="b-3"), x_project_id="shop")) == (0, 0, 2, 0)
    (row,) = await narrow.rows("SELECT count FROM event_rollups")
    assert row["count"] == 2
