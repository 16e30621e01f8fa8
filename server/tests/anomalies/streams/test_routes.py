"""Streams over HTTP: the four of every tenant, made, paused, deleted; nobody else's."""

from typing import Any
from uuid import uuid4

import pytest

from server.tests.anomalies.make import make_stream, post_events, send, stored
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


async def test_every_tenant_has_four_streams(door: Door) -> None:
    listed = (await send(door, "GET", "/streams")).json()
    assert [(one["slug"], one["type"]) for one in listed["data"]] == [
        (name, name) for name in ("logs", "metrics", "traces", "llm")
    ]
    assert len({one["seed"] for one in listed["data"]}) == 4
    first = listed["data"][0]
    assert (first["state"], first["events"], first["last_event_at"], first["lag_seconds"]) == (
        "calibrating",
        0,
        None,
        0,
    )
    assert first["calibration"] == {
        "events_ingested": 0,
        "events_needed": 400,
        "progress_percent": 0.0,
        "detection_ready": False,
        "message": "400 more events are needed before anything is judged.",
        "outliers": 0,
    }
    assert (await send(door, "GET", "/streams/logs")).json() == first
    assert (await send(door, "GET", f"/streams/{first['id']}")).json() == first


async def test_a_stream_of_its_own(door: Door) -> None:
    made = await make_stream(door, "payments", "transactions", session_key="card")
    assert (made["type"], made["session_key"], made["automatic"]) == ("transactions", "card", False)
    again = await send(door, "POST", "/streams", json={"slug": "payments", "type": "logs"})
    assert (again.status_code, again.json()["code"]) == (409, "stream_exists")
    page = (await send(door, "GET", "/streams", params={"limit": 4})).json()
    rest = (
        await send(door, "GET", "/streams", params={"limit": 4, "cursor": page["pagination"]["cursor"]})
    ).json()
    assert [one["slug"] for one in rest["data"]] == ["payments"]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"slug": "Big", "type": "logs"}, "/slug"),
        ({"slug": "", "type": "logs"}, "/slug"),
        ({"slug": "x" * 81, "type": "logs"}, "/slug"),
        ({"slug": "a", "type": "weather"}, "/type"),
        ({"slug": "a", "type": "logs", "session_key": ""}, "/session_key"),
        ({"slug": "a", "type": "logs", "colour": 1}, "/colour"),
    ],
    ids=str,
)
async def test_what_is_refused_of_a_stream(door: Door, body: dict[str, Any], member: str) -> None:
    answer = await send(door, "POST", "/streams", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == [member]


async def test_a_paused_stream_takes_nothing_until_it_is_resumed(door: Door) -> None:
    await make_stream(door, "web")
    stale = await send(door, "PATCH", "/streams/web", json={"state": "paused"}, headers={"if-match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    paused = await send(door, "PATCH", "/streams/web", json={"state": "paused"}, headers={"if-match": '"1"'})
    assert (paused.json()["state"], paused.headers["etag"]) == ("paused", '"2"')
    refused = await post_events(door, "web", {"text": "a"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stream_paused")
    resumed = await send(door, "PATCH", "/streams/web", json={"state": "active"})
    assert resumed.json()["state"] == "calibrating"
    assert (await post_events(door, "web", {"text": "a"})).status_code == 202


async def test_deleting_takes_the_slug_as_confirmation(door: Door) -> None:
    made = await make_stream(door, "web")
    await post_events(door, "web", {"text": "a", "idempotency_key": "k"})
    for confirm in ({}, {"confirm": "other"}):
        refused = await send(door, "DELETE", "/streams/web", params=confirm)
        assert (refused.status_code, refused.json()["code"]) == (422, "confirmation_missing")
    assert len(await stored(door, "web")) == 1
    assert (await send(door, "DELETE", "/streams/web", params={"confirm": "web"})).status_code == 204
    assert (await door.count("stream_segments"), await door.count("stream_seen")) == (0, 0)
    for answer in (
        await send(door, "GET", "/streams/web"),
        await send(door, "PATCH", f"/streams/{made['id']}", json={}),
        await send(door, "DELETE", f"/streams/{made['id']}", params={"confirm": "web"}),
        await post_events(door, "web", {"text": "a"}),
        await post_events(door, made["id"], {"text": "a"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (410, "stream_deleted")
    again = await make_stream(door, "web")
    assert again["id"] != made["id"]
    assert (await post_events(door, "web", {"text": "a"})).json()["first_seq"] == 1


async def test_a_stream_of_every_tenant_stays(door: Door) -> None:
    answer = await send(door, "DELETE", "/streams/logs", params={"confirm": "logs"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_streams_of_others_are_not_there(door: Door, database: Clone) -> None:
    made = await make_stream(door, "web")
    async with open_door(door.resources, database.superuser_url, slug="other") as other:
        for name in (made["id"], "web", str(uuid4())):
            for method in ("GET", "PATCH", "DELETE"):
                options: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
                assert (await send(other, method, f"/streams/{name}", **options)).status_code == 404
            assert (await post_events(other, name, {"text": "a"})).status_code == 404
        own = await make_stream(other, "web")
        assert own["id"] != made["id"]


async def test_what_was_done_to_streams_stands_in_the_audit_log(door: Door) -> None:
    await make_stream(door, "web")
    await send(door, "PATCH", "/streams/web", json={"state": "paused"})
    await send(door, "DELETE", "/streams/web", params={"confirm": "web"})
    rows = await door.rows("SELECT action FROM audit_log WHERE action LIKE 'stream.%' ORDER BY seq")
    assert [row["action"] for row in rows] == ["stream.create", "stream.change", "stream.delete"]
