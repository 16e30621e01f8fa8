"""Heads over HTTP: listed by pages, switched with the right to, refused where they must stay as they are."""

from datetime import timedelta
from typing import Any

import httpx

from guardhouse.foundation.resources import Resources
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door
from server.tests.scores.heads.make import HEADS, keep, states, weighs

WEEK = timedelta(days=7)


async def patch(door: Door, version: Any, **body: Any) -> httpx.Response:
    return await door.client.patch(f"{HEADS}/{version}", json=body, headers={"x-api-key": door.key})


async def test_they_are_listed_newest_first_by_pages(door: Door) -> None:
    for version in range(1, 4):
        await keep(door, weighs(version, "dup2"), "off", auc=version / 4)
    found: list[dict[str, Any]] = []
    cursor = None
    page: dict[str, Any] = {}
    for _ in range(2):
        asked = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        answer = await door.client.get(HEADS, params=asked, headers={"x-api-key": door.key})
        page = answer.json()
        found += page["data"]
        cursor = page["pagination"]["cursor"]
    assert [(head["version"], head["auc"]) for head in found] == [(3, 0.75), (2, 0.5), (1, 0.25)]
    assert (found[0]["confirmed"], found[0]["harmless"], found[0]["on_at"]) == (50, 500, None)
    assert page["pagination"]["has_more"] is False


async def test_a_person_switches_one_off_and_on_again_in_the_place_of_another(door: Door) -> None:
    await keep(door, weighs(1, "dup2"), "on", created_at=door.now - WEEK)
    await keep(door, weighs(2, "dup2"), "off", created_at=door.now - WEEK)
    answer = await patch(door, 2, state="on")
    assert (answer.status_code, answer.json()["state"]) == (200, "on")
    assert await states(door) == {1: "off", 2: "on"}
    assert (await patch(door, 2, state="on")).status_code == 200  # nothing to do, nothing to tell
    assert (await patch(door, 2, state="off")).json()["on_at"] is not None
    rows = await door.rows(
        "SELECT target, after->>'state' AS state FROM audit_log WHERE action = 'head.switch' ORDER BY seq"
    )
    assert [tuple(row) for row in rows] == [("head:1", "off"), ("head:2", "on"), ("head:2", "off")]


async def test_one_that_is_poor_or_young_does_not_go_on(door: Door) -> None:
    await keep(door, weighs(1, "dup2"), "off", auc=0.8, created_at=door.now - WEEK)
    await keep(door, weighs(2, "dup2"))
    for version in (1, 2):
        answer = await patch(door, version, state="on")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert await states(door) == {1: "off", 2: "shadow"}


async def test_what_is_unknown_or_malformed_is_refused(door: Door) -> None:
    await keep(door, weighs(1, "dup2"))
    assert (await patch(door, 7, state="off")).status_code == 404
    for version, body in (
        (1, {"state": "shadow"}),
        (1, {}),
        (0, {"state": "off"}),
        (2**40, {"state": "off"}),
    ):
        assert (await patch(door, version, **body)).status_code == 422


async def test_another_tenant_sees_and_switches_none(
    door: Door, resources: Resources, database: Clone
) -> None:
    await keep(door, weighs(1, "dup2"), "on")
    async with open_door(resources, database.superuser_url, slug="other") as other:
        assert await states(other) == {}
        assert (await patch(other, 1, state="off")).status_code == 404
    assert await states(door) == {1: "on"}
