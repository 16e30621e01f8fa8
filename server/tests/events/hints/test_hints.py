"""Hints about an app's settings from its own events."""

from datetime import timedelta
from typing import Any

import pytest

from server.tests.events.ips.make import get, project_of
from server.tests.ingest.make import Door, batch


async def report(door: Door, suspicious: int, others: int) -> None:
    events = [
        door.event(event_type="suspicious_request", idempotency_key=f"s{n}") for n in range(suspicious)
    ] + [door.event(idempotency_key=f"o{n}") for n in range(others)]
    await door.events(batch(events), x_project_id="shop")


@pytest.mark.parametrize(
    ("suspicious", "others", "codes"),
    [(40, 20, ["trusted_proxies"]), (20, 20, []), (19, 0, []), (0, 40, []), (0, 0, [])],
)
@pytest.mark.parametrize("keep_noise", [False, True])
async def test_forwarding_headers_nobody_trusts(
    door: Door, suspicious: int, others: int, codes: list[str], *, keep_noise: bool
) -> None:
    yesterday = (door.now - timedelta(hours=25)).isoformat()
    await door.events(batch([door.event(timestamp=yesterday)], batch_id="old"), x_project_id="shop")
    body = {"settings": {"keep_noise": keep_noise}}
    url = f"/api/v1/projects/{await project_of(door)}"
    answer = await door.client.patch(url, json=body, headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    await report(door, suspicious, others)
    found: dict[str, Any] = await get(door, "/hints")
    assert (found["events"], [hint["code"] for hint in found["hints"]]) == (suspicious + others, codes)
    for hint in found["hints"]:
        assert hint["share"] == round(suspicious / (suspicious + others), 3)
        assert "trusted_proxies" in hint["text"]
