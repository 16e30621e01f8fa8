"""Appending: numbers without gaps whoever writes, keys for a day, batches cut into segments, days made on demand."""

import asyncio
from datetime import timedelta

import pytest

from guardhouse.anomalies.streams.segments import SegmentDamaged, read_segment
from guardhouse.anomalies.streams.stored_event import cut_text
from server.tests.anomalies.make import make_stream, post_events, stored
from server.tests.ingest.make import Door


async def test_many_writers_leave_no_gap(door: Door) -> None:
    await make_stream(door, "web")
    answers = await asyncio.gather(
        *(post_events(door, "web", *({"text": f"{writer} {n}"} for n in range(7))) for writer in range(12))
    )
    ranges = sorted((one.json()["first_seq"], one.json()["last_seq"]) for one in answers)
    assert ranges == [(7 * n + 1, 7 * n + 7) for n in range(12)]
    events = await stored(door, "web")
    assert len({event.text for event in events}) == 84


async def test_an_event_under_a_key_is_stored_once_a_day(door: Door) -> None:
    await make_stream(door, "web")
    first = {"text": "a", "idempotency_key": "k1"}
    twice = await post_events(door, "web", first, first, {"text": "b"})
    assert (twice.status_code, twice.json()["accepted"], twice.json()["duplicates"]) == (202, 2, 1)
    again = await post_events(door, "web", first)
    said = again.json()
    assert (again.status_code, said["accepted"], said["rejected"], said["first_seq"]) == (202, 0, 0, None)
    assert [(item["index"], item["status"], item["code"]) for item in said["items"]] == [
        (0, "duplicate", "duplicate")
    ]
    await make_stream(door, "other")
    assert (await post_events(door, "other", first)).json()["accepted"] == 1
    await door.behind.execute("UPDATE stream_seen SET seen_at = seen_at - $1::interval", timedelta(hours=25))
    assert (await post_events(door, "web", first)).json()["accepted"] == 1
    assert [event.text for event in await stored(door, "web")] == ["a", "b", "a"]


async def test_segments_hold_a_thousand_events_and_a_mebibyte(door: Door) -> None:
    await make_stream(door, "web")
    lines = b"\n".join(b'{"value":%d}' % n for n in range(2500))
    path = "/api/v1/streams/web/events"
    answer = await door.post(path, lines, content_type="application/x-ndjson")
    assert answer.json()["last_seq"] == 2500
    body = {"body": {"a": "x" * 200_000}}
    assert (await post_events(door, "web", *[body] * 12)).json()["accepted"] == 12
    rows = await door.rows(
        "SELECT last_seq - first_seq + 1 AS n, bytes FROM stream_segments ORDER BY first_seq"
    )
    assert [row["n"] for row in rows] == [1000, 1000, 500, 5, 5, 2]
    assert max(row["bytes"] for row in rows) <= 1 << 20
    assert len(await stored(door, "web")) == 2512


async def test_a_missing_day_is_made(door: Door) -> None:
    await make_stream(door, "web")
    await door.behind.execute("SELECT guardhouse_drop_day('stream_segments', $1)", door.now.date())
    assert (await post_events(door, "web", {"text": "a"})).status_code == 202
    assert len(await stored(door, "web")) == 1


async def test_a_stream_far_behind_asks_for_patience(door: Door) -> None:
    await make_stream(door, "web")
    await door.behind.execute("UPDATE streams SET last_seq = 5000001 WHERE slug = 'web'")
    answer = await post_events(door, "web", {"text": "a"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        429,
        "stream_behind",
        "30",
    )


async def test_a_damaged_segment_is_found(door: Door) -> None:
    await make_stream(door, "web")
    await post_events(door, "web", {"text": "a"})
    row = (await door.rows("SELECT payload, sha256 FROM stream_segments"))[0]
    with pytest.raises(SegmentDamaged):
        read_segment(row["payload"] + b"x", row["sha256"])


def test_texts_are_cut_between_characters() -> None:
    assert cut_text("a" * 8192) == ("a" * 8192, 0)
    assert cut_text("a" * 8193) == ("a" * 8192, 8193)
    assert cut_text("€" * 3000) == ("€" * 2730, 9000)
