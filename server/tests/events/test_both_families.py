from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio

from guardhouse.foundation.resources import Resources
from server.tests.components.postgres import Clone
from server.tests.ingest import make
from server.tests.ingest.make import Door, open_door


@pytest_asyncio.fixture
async def filled(resources: Resources, database: Clone) -> AsyncIterator[Door]:
    async with open_door(resources, database.superuser_url) as door:
        await fill(door)
        yield door


async def fill(door: Door) -> None:
    for n in range(3):
        at = (door.now - timedelta(seconds=10 - 2 * n)).isoformat()
        host = {"pid": 7, "syscall": "read", "timestamp": at, "id": f"h{n}"}
        await door.events(
            {"agent_id": "web-1", "events": [host]}, idempotency_key=f"k{n}", guardhouse_family="host"
        )
        later = (door.now - timedelta(seconds=9 - 2 * n)).isoformat()
        await door.events(make.batch([door.event(timestamp=later, event_type="penetration_attempt")]))


async def pages(door: Door, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = query | ({"cursor": cursor} if cursor else {})
        answer = await door.client.get("/api/v1/events", params=asked, headers={"x-api-key": door.key})
        assert answer.status_code == 200, answer.text
        found += answer.json()["data"]
        cursor = answer.json()["pagination"]["cursor"]
        if cursor is None:
            return found


async def test_one_list_shows_both_newest_first_page_by_page(filled: Door) -> None:
    for limit in (1, 2, 100):
        found = await pages(filled, limit=limit)
        assert [event["family"] for event in found] == ["app", "host"] * 3
        assert [event["id"] for event in found] == sorted((event["id"] for event in found), reverse=True)


async def test_a_filter_of_one_family_leaves_the_other_out(filled: Door) -> None:
    assert {event["family"] for event in await pages(filled, syscall="read")} == {"host"}
    assert {event["family"] for event in await pages(filled, event_type="penetration_attempt")} == {"app"}
    assert await pages(filled, event_type="nothing") == []
    assert len(await pages(filled, family="app")) == 3


async def test_filters_of_both_families_exclude_each_other(filled: Door) -> None:
    answer = await filled.client.get(
        "/api/v1/events", params={"pid": 7, "project": "default"}, headers={"x-api-key": filled.key}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "family"


async def test_an_event_of_each_family_is_found_by_its_id(filled: Door) -> None:
    for event in await pages(filled):
        answer = await filled.client.get(f"/api/v1/events/{event['id']}", headers={"x-api-key": filled.key})
        assert answer.json() == event
