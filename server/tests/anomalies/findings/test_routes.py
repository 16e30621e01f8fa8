"""Anomalies over HTTP: listed, filtered, paged, shown; what people make of them; bad queries."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from guardhouse.anomalies.findings import store
from guardhouse.anomalies.findings.anomaly import Anomaly
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.transaction import system_transaction
from server.tests.anomalies.findings.make import anomaly_of
from server.tests.anomalies.make import make_stream, send
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


async def put(door: Door, *members: dict[str, Any]) -> list[Anomaly]:
    """Store anomalies, each a minute older than the one before."""
    stream = UUID((await make_stream(door, "web"))["id"])
    found = [
        anomaly_of(
            stream, door.now - timedelta(minutes=number), first_seq=number + 1, last_seq=number + 1, **own
        )
        for number, own in enumerate(members)
    ]
    async with system_transaction(door.resources.database) as tx:
        await store.add_anomalies(tx, door.tenant.no, found)
        await store.add_anomalies(tx, door.tenant.no, found)  # once more: nothing is there twice
    return found


async def listed(door: Door, **params: Any) -> list[str]:
    answer = await send(door, "GET", "/anomalies", params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_the_newest_come_first_page_by_page(door: Door) -> None:
    found = await put(door, *[{}] * 5)
    first = (await send(door, "GET", "/anomalies", params={"limit": 3})).json()
    rest = await send(door, "GET", "/anomalies", params={"limit": 3, "cursor": first["pagination"]["cursor"]})
    shown = [one["id"] for one in (*first["data"], *rest.json()["data"])]
    assert shown == [str(one.id) for one in found]
    forged = await send(door, "GET", "/anomalies", params={"cursor": "c1.AAAA.AAAA"})
    assert (forged.status_code, forged.json()["code"]) == (400, "invalid_cursor")


async def test_filters(door: Door) -> None:
    found = await put(
        door,
        {},
        {"severity": "low", "p_value": 0.0009, "ncd_score": 0.2, "entity": "host-9"},
        {"kind": "record", "stream_type": "llm", "tags": ("llm", "night"), "explanation_text": "Odd PROMPT"},
        {"alerted": False},
        {"status": "dismissed", "significant": False},
    )
    ids = [str(one.id) for one in found]
    assert await listed(door) == [ids[0], ids[1], ids[2], ids[4]]
    assert await listed(door, include="suppressed,over_budget") == ids
    assert await listed(door, severity="low") == [ids[1]]
    assert await listed(door, max_p_value=1e-6) == [ids[0], ids[2], ids[4]]
    assert await listed(door, min_ncd_score=0.5) == [ids[0], ids[2], ids[4]]
    assert await listed(door, entity="host-9") == [ids[1]]
    assert await listed(door, kind="record", stream_type="llm") == [ids[2]]
    assert await listed(door, tags="night,llm") == [ids[2]]
    assert await listed(door, q="prompt") == [ids[2]]
    assert await listed(door, status="dismissed") == [ids[4]]
    assert await listed(door, only_significant="true") == ids[:3]
    assert await listed(door, stream_id=str(uuid4())) == []
    middle = rfc3339(found[2].timestamp - timedelta(seconds=30))
    assert await listed(door, start_time=middle) == ids[:3]
    assert await listed(door, end_time=middle) == [ids[4]]


@pytest.mark.parametrize(
    "params",
    [
        {"min_ncd_score": "abc"},
        {"min_ncd_score": 2},
        {"max_p_value": -1},
        {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"},
        {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00"},
        {"limit": 0},
        {"status": "unknown"},
        {"include": "everything"},
        {"stream_id": "x"},
    ],
    ids=str,
)
async def test_bad_queries(door: Door, params: dict[str, Any]) -> None:
    answer = await send(door, "GET", "/anomalies", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_one_anomaly_with_and_without_its_heat_map(door: Door) -> None:
    one = (await put(door, {}))[0]
    shown = (await send(door, "GET", f"/anomalies/{one.id}")).json()
    assert (shown["compression_baseline"], shown["compression_ratio_change"], shown["source"]) == (
        6.8,
        -0.41,
        "engine",
    )
    assert shown["confidence_level"] == 1 - 1e-7
    assert shown["events"] == {
        "first_seq": 1,
        "last_seq": 1,
        "count": 1,
        "entity": "host-1",
        "template_id": 7,
    }
    assert "heat_map" not in shown["explanation"]
    heavy = (await send(door, "GET", f"/anomalies/{one.id}", params={"include": "heat_map"})).json()
    assert heavy["explanation"]["heat_map"]["milli_bits"] == [1]


async def test_what_people_make_of_it(door: Door) -> None:
    one = (await put(door, {}))[0]
    path = f"/anomalies/{one.id}/status"
    same = (await send(door, "PATCH", path, json={"status": "pending"})).json()
    assert (same["status"], same["updated_at"]) == ("pending", rfc3339(one.updated_at))
    seen = (await send(door, "PATCH", path, json={"status": "acknowledged", "notes": "looking"})).json()
    assert (seen["status"], seen["notes"]) == ("acknowledged", "looking")
    assert seen["acknowledged_by"].startswith("key:")
    gone = (await send(door, "PATCH", path, json={"status": "dismissed"})).json()
    assert gone["dismissed_at"]
    assert gone["acknowledged_at"] == seen["acknowledged_at"]
    back = (await send(door, "PATCH", path, json={"status": "pending"})).json()
    assert (back["dismissed_by"], back["dismissed_at"], back["notes"]) == (None, None, "looking")
    for body in ({"status": "solved"}, {}, {"status": "pending", "colour": 1}):
        assert (await send(door, "PATCH", path, json=body)).status_code == 422
    rows = await door.rows("SELECT action FROM audit_log WHERE action = 'anomaly.change_status'")
    assert len(rows) == 3


async def test_anomalies_of_others_are_not_there(door: Door, database: Clone) -> None:
    one = (await put(door, {}))[0]
    async with open_door(door.resources, database.superuser_url, slug="other") as other:
        assert await listed(other) == []
        assert (await send(other, "GET", f"/anomalies/{one.id}")).status_code == 404
        change = await send(other, "PATCH", f"/anomalies/{one.id}/status", json={"status": "dismissed"})
        assert change.status_code == 404
