"""The door for events of any kind: what is taken, a verdict per event, every row of bad input, repeats under a key."""

import gzip
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import zstandard

from guardhouse.anomalies.streams.stored_event import StoredEvent
from guardhouse.foundation.clock import microseconds
from server.tests.anomalies.make import make_stream, post_events, stored
from server.tests.ingest.make import Door

PATH = "/api/v1/streams/web/events"
NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
async def _stream(door: Door) -> None:
    await make_stream(door, "web")


async def one(door: Door, event: Any) -> StoredEvent:
    """Send one event and return what is stored of it."""
    answer = await post_events(door, "web", event)
    assert answer.status_code == 202, answer.text
    return (await stored(door, "web"))[-1]


async def verdict(door: Door, event: Any) -> str:
    """Send one bad event beside a good one and return its code."""
    raw = event if isinstance(event, str) else json.dumps(event)
    answer = await door.post(PATH, f'{{"events":[{{"text":"good"}},{raw}]}}'.encode())
    assert answer.status_code == 207, answer.text
    said = answer.json()
    assert (said["accepted"], said["rejected"], len(said["items"])) == (1, 1, 1)
    assert (said["items"][0]["index"], said["items"][0]["status"]) == (1, "rejected")
    assert said["items"][0]["detail"]
    code: str = said["items"][0]["code"]
    return code


# What is taken.


async def test_the_whole_event(door: Door) -> None:
    at = door.now.replace(microsecond=123_000)
    event = {
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "type": "log",
        "text": "user 17 signed in",
        "entity": "host-12",
        "attributes": {"k": "v", "n": 5, "yes": True, "token": "t"},
        "sequence": 17,
        "end": True,
        "colour": "blue",
    }
    assert await one(door, event) == StoredEvent(
        at=microseconds(at),
        text="user 17 signed in",
        entity="host-12",
        attributes={"colour": "blue", "k": "v", "n": "5", "token": "[REDACTED]", "yes": "true"},
        sequence=17,
        end=True,
    )


async def test_the_four_contents(door: Door) -> None:
    events = [{"text": "a"}, {"body": {"a": 1}}, {"value": 2}, {"symbols": [3, 7, 7]}]
    answer = await post_events(door, "web", *events)
    said = answer.json()
    assert answer.status_code == 202
    assert (said["accepted"], said["rejected"], said["first_seq"], said["last_seq"]) == (4, 0, 1, 4)
    assert (said["state"], said["items"], said["calibration"]["events_ingested"]) == ("calibrating", [], 4)
    found = await stored(door, "web")
    assert [(e.text, e.body, e.value, e.symbols) for e in found] == [
        ("a", None, None, None),
        (None, {"a": 1}, None, None),
        (None, None, 2.0, None),
        (None, None, None, [3, 7, 7]),
    ]
    assert len({event.at for event in found}) == 1


async def test_an_object_of_another_make_is_taken_whole(door: Door) -> None:
    line = {"amount": 12.5, "merchant": "m1", "type": "purchase", "card": "4111111111111111"}
    assert (await one(door, line)).body == line | {"card": "<card>"}


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
async def test_lines_under_each_coding(door: Door, coding: str) -> None:
    lines = b'{"text":"a"}\r\n\n{"text":"b"}\n'
    packed = {"gzip": gzip.compress(lines), "zstd": zstandard.compress(lines), "identity": lines}[coding]
    answer = await door.post(PATH, packed, content_type=NDJSON, content_encoding=coding)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert [event.text for event in await stored(door, "web")] == ["a", "b"]


async def test_more_lines_than_one_document_may_have(door: Door) -> None:
    lines = b"\n".join(b'{"text":"line %d of many that repeat"}' % n for n in range(20_000))
    answer = await door.post(PATH, lines, content_type=NDJSON)
    assert answer.json()["accepted"] == 20_000
    assert len(await stored(door, "web")) == 20_000


async def test_sessions_are_told_apart_by_the_streams_key(door: Door) -> None:
    await make_stream(door, "keyed", session_key="user")
    await post_events(
        door,
        "keyed",
        {"text": "a", "attributes": {"user": "u1"}},
        {"body": {"user": 2}},
        {"user": "u3"},
        {"text": "b"},
    )
    assert [event.session for event in await stored(door, "keyed")] == ["u1", "2", "u3", None]


async def test_odd_texts_are_taken(door: Door) -> None:
    long = "x" * 10_000_000
    assert ((await one(door, {"text": long})).cut, (await stored(door, "web"))[-1].text) == (
        10_000_000,
        "x" * 8192,
    )
    assert (await one(door, {"text": "a\0b\x1bc"})).text == "a\0b\x1bc"
    raw = b'{"events":[{"text":"lone \\ud800 half"}]}'
    assert (await door.post(PATH, raw)).status_code == 202
    assert (await stored(door, "web"))[-1].text == "lone ? half"


async def test_integers_beyond_64_bits_become_floats(door: Door) -> None:
    found = await one(door, {"body": {"n": 2**70, "deep": [{"m": -(2**64)}], "fits": 2**63}})
    assert found.body == {"n": float(2**70), "deep": [{"m": -float(2**64)}], "fits": 2**63}
    assert (await one(door, {"value": 10**30})).value == 1e30


# Times.


@pytest.mark.parametrize(
    ("given", "second"),
    [
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("1999-12-31T23:59:59+01:00", 946_681_199),
        ("2001-09-09T01:46:40", 1_000_000_000),
        (1_000_000_000, 1_000_000_000),
        (1_000_000_000_000, 1_000_000_000),
    ],
)
async def test_times_are_read(door: Door, given: Any, second: int) -> None:
    answer = await post_events(door, "web", {"text": "a", "timestamp": given})
    naive = isinstance(given, str) and given[-1] == "0" and "+" not in given
    assert answer.json()["warnings"] == ({"timestamp_without_zone": 1} if naive else {})
    assert (await stored(door, "web"))[-1].at == second * 1_000_000


@pytest.mark.parametrize("ahead", [timedelta(hours=25), None])
async def test_a_time_far_ahead_is_replaced(door: Door, ahead: timedelta | None) -> None:
    given = "9999-12-31T23:59:59Z" if ahead is None else (door.now + ahead).isoformat()
    before = microseconds(door.now)
    answer = await post_events(door, "web", {"text": "a", "timestamp": given})
    assert answer.json()["warnings"] == {"clock_skew": 1}
    found = (await stored(door, "web"))[-1]
    assert found.skewed
    assert before <= found.at <= microseconds(door.now)


async def test_events_out_of_order_keep_the_order_of_arrival(door: Door) -> None:
    times = [door.now - timedelta(seconds=seconds) for seconds in (5, 60, 1)]
    await post_events(door, "web", *({"value": 1, "timestamp": at.isoformat()} for at in times))
    assert [event.at for event in await stored(door, "web")] == [microseconds(at) for at in times]


# Bad events.


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"text": "a", "value": 1}, "content_ambiguous"),
        ({"type": "log"}, "content_missing"),
        ({"type": "metrics", "text": None}, "content_missing"),
        ({"text": 5}, "type_mismatch"),
        ({"body": "x"}, "type_mismatch"),
        ({"value": "5"}, "type_mismatch"),
        ({"value": True}, "type_mismatch"),
        ({"symbols": []}, "type_mismatch"),
        ({"symbols": [1, 2**31 - 1]}, "type_mismatch"),
        ({"symbols": [1, -1]}, "type_mismatch"),
        ({"symbols": [1, "2"]}, "type_mismatch"),
        ({"text": "a", "entity": 5}, "type_mismatch"),
        ({"text": "a", "attributes": []}, "type_mismatch"),
        ({"text": "a", "sequence": "1"}, "type_mismatch"),
        ({"text": "a", "idempotency_key": ""}, "type_mismatch"),
        (5, "type_mismatch"),
        ("null", "type_mismatch"),
        ('{"value":NaN}', "number_not_finite"),
        ('{"value":Infinity}', "number_not_finite"),
        ('{"value":1e999}', "number_not_finite"),
        ('{"value":-1e309}', "number_not_finite"),
        ('{"body":{"a":[NaN]}}', "number_not_finite"),
        ('{"a":1e400}', "number_not_finite"),
        ({"text": "a", "timestamp": "yesterday"}, "timestamp_invalid"),
        ({"text": "a", "timestamp": "2026-13-01T00:00:00Z"}, "timestamp_invalid"),
        ({"text": "a", "timestamp": {}}, "timestamp_invalid"),
        ({"body": {"a": "x" * 300_000}}, "event_too_large"),
        ({"body": {str(n): n for n in range(10_001)}}, "too_many_fields"),
        ('{"body":' + '{"a":' * 40 + "1" + "}" * 40 + "}", "too_deep"),
        ('{"body":{"a":' + "[" * 5000 + "]" * 5000 + "}}", "too_deep"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_events(door: Door, event: Any, code: str) -> None:
    assert await verdict(door, event) == code
    assert len(await stored(door, "web")) == 1


async def test_a_bad_line_is_one_rejection(door: Door) -> None:
    lines = b'{"text":"a"}\n{"text":\n{"text":"b"}\n\xff\n'
    answer = await door.post(PATH, lines, content_type=NDJSON)
    assert answer.status_code == 207
    assert [(item["index"], item["code"]) for item in answer.json()["items"]] == [
        (1, "line_malformed"),
        (3, "line_malformed"),
    ]


async def test_all_bad_is_a_problem_that_lists_them(door: Door) -> None:
    answer = await post_events(door, "web", {"value": "x"}, {"type": "log"})
    assert (answer.status_code, answer.json()["code"]) == (422, "events_rejected")
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        ("/events/0", "type_mismatch"),
        ("/events/1", "content_missing"),
    ]
    assert await door.count("stream_segments") == 0


# Bad bodies.


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"events":[]}', {}, 422, "events_empty"),
        (b"\n\n", {"content_type": NDJSON}, 422, "events_empty"),
        (b"", {}, 400, "malformed_body"),
        (b'{"events":[{"text":"a"}', {}, 400, "malformed_body"),
        (b'{"events":5}', {}, 400, "malformed_body"),
        (b"[]", {}, 400, "malformed_body"),
        (b'{"events":[{"text":"\xff"}]}', {}, 400, "malformed_body"),
        (b"\x1f\x8b\x08\0\0\0", {"content_encoding": "gzip"}, 400, "malformed_body"),
        (b"{}", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content_type": None}, 415, "unsupported_media_type"),
        (b"{}", {"content_encoding": "br"}, 415, "unsupported_coding"),
        (b"{}", {"content_encoding": "gzip, zstd"}, 415, "unsupported_coding"),
        (b"{}", {"content_length": str(17 << 20)}, 413, "body_too_large"),
        (gzip.compress(bytes(8 << 20), mtime=0), {"content_encoding": "gzip"}, 413, "compression_bomb"),
        (b'{"events":[' + b'{"value":1},' * 1000 + b'{"value":1}]}', {}, 413, "too_many_events"),
        (b"{}\n" * 200_001, {"content_type": NDJSON}, 413, "too_many_events"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_bodies(
    door: Door, body: bytes, headers: dict[str, str | None], status: int, code: str
) -> None:
    answer = await door.post(PATH, body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if code == "malformed_body":
        assert isinstance(answer.json()["offset"], int)
    if code == "unsupported_coding":
        assert answer.json()["supported"] == ["gzip", "zstd", "identity"]
    assert await door.count("stream_segments") == 0


async def test_the_offset_of_invalid_json(door: Door) -> None:
    answer = await door.post(PATH, '{"events":[{"text":"é"},}'.encode())
    assert answer.json()["offset"] == 25


async def test_who_may_send(door: Door) -> None:
    answer = await door.post(PATH, {"events": [{"text": "a"}]}, x_api_key=None)
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing")
    missing = await door.post("/api/v1/streams/none/events", {"events": [{"text": "a"}]})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


# Repeats.


async def test_a_repeat_under_a_key_gets_the_same_answer(door: Door) -> None:
    events = [{"text": "a"}, {"value": "x"}]
    first = await post_events(door, "web", *events, idempotency_key="k")
    again = await post_events(door, "web", *events, idempotency_key="k")
    assert (first.status_code, again.status_code) == (207, 207)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    other = await post_events(door, "web", {"text": "b"}, idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await stored(door, "web")) == 1


async def test_a_time_of_receipt_is_the_clocks(door: Door) -> None:
    before = door.now
    found = await one(door, {"text": "a"})
    assert before <= datetime.fromtimestamp(found.at / 1e6, before.tzinfo) <= door.now
