"""Attacks on a project, and their scores."""

from datetime import timedelta
from typing import Any

from guardhouse.events.ips import jobs
from server.tests.ingest.make import Door, batch, counts

ATTACKER = "203.0.113.7"


async def attack(door: Door, count: int = 1, *, minutes_ago: float = 0, **fields: Any) -> None:
    """Let an address do something to project ``shop`` so many times, a bit later each time."""
    at = door.now - timedelta(minutes=minutes_ago, seconds=60)
    events = [
        door.event(
            **{"ip_address": ATTACKER, "timestamp": (at + timedelta(milliseconds=number)).isoformat()}
            | fields
        )
        for number in range(count)
    ]
    answer = await door.events(batch(events, batch_id=f"{at}{fields}"), x_project_id="shop")
    assert sum(counts(answer)[:3]) == count


async def rate(door: Door) -> None:
    """Score everything that waits."""
    while await jobs.rate_once(door.resources):
        pass


async def project_of(door: Door, slug: str = "shop") -> str:
    """Return the id of a project."""
    (row,) = await door.rows("SELECT project_id FROM projects WHERE slug = $1", slug)
    return str(row["project_id"])


async def get(door: Door, path: str, **query: Any) -> Any:
    """Return what a GET below the project ``shop`` answers."""
    answer = await door.client.get(
        f"/api/v1/projects/{await project_of(door)}{path}", params=query, headers={"x-api-key": door.key}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()
