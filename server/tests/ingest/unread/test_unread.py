"""The quarantine over HTTP: listed, tried again with the reader of today, deleted; and counted throughout."""

import asyncio
from typing import Any

import httpx
import pytest

from guardhouse.ingest import parse_telemetry
from server.tests.ingest.make import Door, batch, counts

BROKEN = (
    b'{"batch_id":"b-7","events":[{"event_type":"rate_limited","idempotency_key":"a"},{"event_type":"x"},{"ev'
)


async def path_of(door: Door, slug: str = "default") -> str:
    (row,) = await door.rows("SELECT project_id FROM projects WHERE slug = $1", slug)
    return f"/api/v1/projects/{row['project_id']}"


async def call(door: Door, method: str, url: str, **headers: str) -> httpx.Response:
    return await door.client.request(method, url, headers={"x-api-key": door.key} | headers)


async def listed(door: Door, project: str) -> dict[str, Any]:
    answer = await call(door, "GET", f"{project}/quarantine")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_could_not_be_read_is_listed_newest_first_and_deleted(door: Door) -> None:
    await door.events(batch([door.event(), 5, "x"], [door.metric(value=None)]))
    assert (await door.events(BROKEN)).status_code == 400
    project = await path_of(door)
    page = await listed(door, project)
    assert [(row["kind"], row["index"], row["code"]) for row in page["data"]] == [
        ("body", None, "malformed_body"),
        ("metric", 3, "no_value"),
        ("event", 2, "not_an_object"),
        ("event", 1, "not_an_object"),
    ]
    sizes = sum(row["bytes"] for row in page["data"])
    assert page["totals"] == {"bytes": sizes, "dropped": 0, "held_envelopes": 0, "held_bytes": 0}
    first = await call(door, "GET", f"{project}/quarantine?limit=3")
    rest = await call(
        door, "GET", f"{project}/quarantine?limit=3&cursor={first.json()['pagination']['cursor']}"
    )
    assert [*first.json()["data"], *rest.json()["data"]] == page["data"]
    one = f"{project}/quarantine/{page['data'][0]['id']}"
    assert [(await call(door, "DELETE", one)).status_code for _ in range(2)] == [204, 404]
    assert (await listed(door, project))["totals"]["bytes"] == sizes - len(BROKEN)
    told = await door.rows("SELECT action FROM audit_log WHERE action LIKE 'quarantine.%'")
    assert [row["action"] for row in told] == ["quarantine.delete"]


async def test_a_broken_body_gives_up_every_item_that_is_whole(door: Door) -> None:
    await door.events(BROKEN)
    project = await path_of(door)
    (row,) = (await listed(door, project))["data"]
    url = f"{project}/quarantine/{row['id']}:retry"
    answer = await call(door, "POST", url, **{"Idempotency-Key": "r-1"})
    assert counts(answer) == (2, 0, 0, 0)
    assert (await call(door, "POST", url, **{"Idempotency-Key": "r-1"})).json() == answer.json()
    assert (await call(door, "POST", url)).status_code == 404
    assert await door.count("events") == 2
    assert (await listed(door, project))["totals"]["bytes"] == 0
    # Its time of receipt is that of the delivery, and a client that sends the item whole is told that it is known.
    (times,) = await door.rows("SELECT count(DISTINCT received_at) AS n FROM events")
    assert times["n"] == 1
    again = await door.events(batch([{"event_type": "rate_limited", "idempotency_key": "a"}]))
    assert counts(again) == (0, 1, 0, 0)


async def test_an_item_that_is_readable_by_now_is_stored_and_another_stays(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(
            parse_telemetry, "over_limits", lambda _raw, _value: "too large for the reader of then"
        )
        assert counts(await door.events(batch([door.event()]))) == (0, 0, 0, 1)
    assert counts(await door.events(batch([7], batch_id="b-2"))) == (0, 0, 0, 1)
    project = await path_of(door)
    stays, goes = (await listed(door, project))["data"]
    assert (goes["code"], stays["code"]) == ("item_too_large", "not_an_object")
    assert counts(await call(door, "POST", f"{project}/quarantine/{goes['id']}:retry")) == (1, 0, 0, 0)
    for _ in range(2):  # as often as anybody likes
        (stays,) = (await listed(door, project))["data"]
        assert counts(await call(door, "POST", f"{project}/quarantine/{stays['id']}:retry")) == (0, 0, 0, 1)
    (row,) = (await listed(door, project))["data"]
    assert (row["code"], row["received_at"]) == ("not_an_object", stays["received_at"])
    assert (await listed(door, project))["totals"]["bytes"] == 1


async def test_of_retries_at_once_one_takes_the_row(door: Door) -> None:
    await door.events(BROKEN)
    project = await path_of(door)
    (row,) = (await listed(door, project))["data"]
    url = f"{project}/quarantine/{row['id']}:retry"
    answers = await asyncio.gather(*(call(door, "POST", url) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    assert await door.count("events") == 2


@pytest.mark.parametrize("body", [b"[1, 2]", b"nonsense", b'{"events": ['])
async def test_a_body_without_a_whole_item_stays(door: Door, body: bytes) -> None:
    assert (await door.events(body)).status_code == 400
    project = await path_of(door)
    (row,) = (await listed(door, project))["data"]
    answer = await call(door, "POST", f"{project}/quarantine/{row['id']}:retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await listed(door, project))["data"] == [row]


async def test_rows_of_another_project_are_absent(door: Door) -> None:
    await door.events(BROKEN)
    await door.events(batch(), x_project_id="other")
    other = await path_of(door, "other")
    (row,) = (await listed(door, await path_of(door)))["data"]
    assert (await listed(door, other))["data"] == []
    for method, end in (("POST", ":retry"), ("DELETE", "")):
        assert (await call(door, method, f"{other}/quarantine/{row['id']}{end}")).status_code == 404
    assert (await call(door, "DELETE", f"{other}/quarantine/nothing")).status_code in {404, 422}
