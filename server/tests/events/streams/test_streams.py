"""Minutes of a project: sealed 90 seconds after their end, corrected beside it, read in order; nobody else's."""

from datetime import timedelta
from typing import Any

import pytest

from guardhouse.events.streams import jobs
from guardhouse.foundation.clock import SetClock, rfc3339
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from server.tests.components.postgres import Clone
from server.tests.events.ips.make import get, project_of, rate
from server.tests.ingest.make import Door, batch, open_door


async def send(door: Door, number: int, seconds_ago: float = 30, *, requests: int = 4, **fields: Any) -> None:
    """Let an app report one attack, its requests and their times, and some noise of the same second."""
    at = (door.now - timedelta(seconds=seconds_ago)).isoformat()
    events = [
        door.event(
            timestamp=at, endpoint="/items/7", action_taken="request_blocked", idempotency_key=f"e{number}"
        )
        | fields,
        door.event(timestamp=at, event_type="suspicious_request", idempotency_key=f"n{number}"),
    ]
    tags = {"endpoint": "/items/8", "method": "GET"}
    metrics = [
        door.metric(timestamp=at, value=requests, tags=tags, idempotency_key=f"c{number}"),
        door.metric(
            timestamp=at, metric_type="error_rate", value=1.0, tags=tags, idempotency_key=f"x{number}"
        ),
        door.metric(
            timestamp=at, metric_type="response_time", value=0.25, tags=tags, idempotency_key=f"t{number}"
        ),
    ]
    await door.events(batch(events, metrics, batch_id=f"b{number}"), x_project_id="shop")
    await rate(door)


async def seal(door: Door) -> None:
    while await jobs.seal_once(door.resources):
        pass


async def test_a_minute_is_sealed_ninety_seconds_after_its_end(door: Door, clock: SetClock) -> None:
    clock.move(30)
    begins_at = door.now.replace(second=0)
    await send(door, 1, seconds_ago=10)
    await send(door, 2, seconds_ago=5, ip_address="203.0.113.9")
    clock.move(30 + 89)
    await seal(door)
    assert (await get(door, "/streams"))["data"] == []
    clock.move(1)
    await seal(door)
    rows = (await get(door, "/streams"))["data"]
    assert [(row["route"], row["correction"], row["minute"]) for row in rows] == [
        (route, 0, rfc3339(begins_at)) for route in ("", "/items/{n}", "other")
    ]
    assert rows[0]["values"] == {
        "events.attack": 2.0,
        "events.policy": 0.0,
        "events.config": 0.0,
        "events.noise": 2.0,
        "events.other": 0.0,
        "distinct_ips": 2.0,
        "request_count": 8.0,
        "error_ratio": 0.25,
        "blocked_ratio": 0.25,
        "response_time.p50": 0.25,
        "response_time.p95": 0.25,
    }
    assert rows[1]["values"]["events.attack"] == 2.0
    assert rows[2]["values"]["events.noise"] == 2.0


async def test_what_comes_later_makes_one_correction_and_the_sealed_values_stay(
    door: Door, clock: SetClock
) -> None:
    await send(door, 1)
    clock.move(180)
    await seal(door)
    (sealed, *_) = (await get(door, "/streams", route=""))["data"]
    for number in (2, 3):
        await send(door, number, seconds_ago=30 + 180)
    await seal(door)
    assert len((await get(door, "/streams", route=""))["data"]) == 1  # stragglers come together
    clock.move(61)
    await seal(door)
    await seal(door)
    rows = (await get(door, "/streams", route=""))["data"]
    assert rows[0] == sealed
    assert [(row["correction"], row["values"]["request_count"]) for row in rows] == [(0, 4.0), (1, 12.0)]
    await send(door, 4, seconds_ago=30 + 180 + 61)
    clock.move(61)
    await seal(door)
    rows = (await get(door, "/streams", route=""))["data"]
    assert [(row["correction"], row["values"]["request_count"]) for row in rows][2:] == [(2, 16.0)]


async def test_a_replay_after_the_seal_corrects_nothing(door: Door, clock: SetClock) -> None:
    await send(door, 1)
    clock.move(180)
    await seal(door)
    await send(door, 1, seconds_ago=30 + 180)
    clock.move(61)
    await seal(door)
    assert [row["correction"] for row in (await get(door, "/streams", route=""))["data"]] == [0]


async def test_pages_and_spans(door: Door, clock: SetClock) -> None:
    for number in range(4):
        await send(door, number)
        clock.move(60)
    clock.move(180)
    await seal(door)
    whole = (await get(door, "/streams"))["data"]
    assert len({row["minute"] for row in whole}) == 4
    paged: list[Any] = []
    query: dict[str, Any] = {"limit": 5}
    while True:
        page = await get(door, "/streams", **query)
        paged += page["data"]
        if not page["pagination"]["has_more"]:
            break
        query["cursor"] = page["pagination"]["cursor"]
    assert paged == whole
    since, until = whole[3]["minute"], whole[-1]["minute"]
    part = (await get(door, "/streams", since=since, until=until))["data"]
    assert part == [row for row in whole if since <= row["minute"] < until]
    early = (await get(door, "/streams", until=since))["data"]
    assert early == [row for row in whole if row["minute"] < since]


async def test_a_span_that_is_empty_is_refused(door: Door) -> None:
    await send(door, 1)
    for path in ("/streams", "/payloads"):
        answer = await door.client.get(
            f"/api/v1/projects/{await project_of(door)}{path}",
            params={"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
            headers={"x-api-key": door.key},
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_payloads_in_order(door: Door) -> None:
    said = ["<script>", "' OR 1=1", "../../etc/passwd"]
    events = [
        door.event(
            timestamp=(door.now - timedelta(seconds=60 - n)).isoformat(),
            metadata={"content_preview" if n % 2 else "trigger_info": text},
            event_type="pattern_detected",
        )
        for n, text in enumerate(said)
    ]
    await door.events(batch([*events, door.event()]), x_project_id="shop")
    assert [row["text"] for row in (await get(door, "/payloads"))["data"]] == said
    page = await get(door, "/payloads", limit=2)
    rest = await get(door, "/payloads", limit=2, cursor=page["pagination"]["cursor"])
    assert [row["text"] for row in page["data"] + rest["data"]] == said


async def test_minutes_are_forgotten_with_their_events(door: Door, clock: SetClock) -> None:
    await send(door, 1)
    clock.move(180)
    await seal(door)
    clock.move(86_400 * (door.resources.settings.events_retention_days + 1))
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), "")
    await jobs.forget_minutes.run(JobContext(door.resources, claimed))
    assert [await door.count(table) for table in ("event_minutes", "event_streams")] == [0, 0]


@pytest.mark.parametrize("path", ["/streams", "/payloads"])
async def test_another_tenants_minutes_are_not_there(
    door: Door, clock: SetClock, database: Clone, path: str
) -> None:
    await send(door, 1)
    clock.move(180)
    await seal(door)
    async with open_door(door.resources, database.superuser_url, slug="other") as other:
        answer = await other.client.get(
            f"/api/v1/projects/{await project_of(door)}{path}", headers={"x-api-key": other.key}
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
