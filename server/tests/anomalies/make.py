"""Streams and events for tests."""

from typing import Any

import httpx

from guardhouse.anomalies.streams.segments import read_segment
from guardhouse.anomalies.streams.stored_event import StoredEvent
from server.tests.ingest.make import Door


async def send(door: Door, method: str, path: str, **options: Any) -> httpx.Response:
    """Call the API with the tenant's key."""
    headers = {"x-api-key": door.key} | options.pop("headers", {})
    return await door.client.request(method, f"/api/v1{path}", headers=headers, **options)


async def make_stream(door: Door, slug: str, kind: str = "logs", **members: Any) -> dict[str, Any]:
    """Make a stream."""
    answer = await send(door, "POST", "/streams", json={"slug": slug, "type": kind} | members)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def post_events(door: Door, slug: str, *events: Any, **headers: str | None) -> httpx.Response:
    """Send events as one JSON document."""
    return await door.post(f"/api/v1/streams/{slug}/events", {"events": list(events)}, **headers)


async def stored(door: Door, slug: str) -> list[StoredEvent]:
    """Return every event of a stream as its segments hold it; numbers and hashes must follow one another."""
    rows = await door.rows(
        "SELECT g.* FROM stream_segments g JOIN streams s USING (tenant_no, stream_no)"
        " WHERE s.slug = $1 AND s.deleted_at IS NULL ORDER BY first_seq",
        slug,
    )
    found: list[StoredEvent] = []
    before = bytes(32)
    for row in rows:
        assert row["first_seq"] == len(found) + 1
        assert row["previous_sha256"] == before
        events = read_segment(row["payload"], row["sha256"])
        assert row["last_seq"] == len(found) + len(events)
        found += events
        before = row["sha256"]
    return found
