"""What the API and the outbox show of instances, for tests."""

import json
from typing import Any
from uuid import UUID

import httpx

from guardhouse.agents.instances import jobs
from guardhouse.foundation.jobs import ClaimedJob, Job, JobContext
from server.tests.ingest.make import Door

G1 = "FastAPI-Guard-Agent/1.1.0"
G3 = "guard-agent/3.2.4"
GH = "guardhouse-agent/0.1.0 (guard-agent-api 3.2.4)"
INSTALL = "fcb99e91-a3aa-4001-af1d-9b35c88058a6"


async def get(door: Door, path: str, code: int = 200) -> Any:
    """Return what a path answers."""
    answer = await door.client.get(f"/api/v1{path}", headers={"x-api-key": door.key})
    assert answer.status_code == code, answer.text
    return answer.json()


async def project_id(door: Door, slug: str = "default") -> UUID:
    """Return the id of a project."""
    (row,) = await door.rows("SELECT project_id FROM projects WHERE slug = $1", slug)
    found: UUID = row["project_id"]
    return found


async def shown(door: Door, project: str = "default", query: str = "") -> list[dict[str, Any]]:
    """Return the instances of a project, the youngest first."""
    found: list[dict[str, Any]] = (
        await get(door, f"/projects/{await project_id(door, project)}/instances?{query}")
    )["data"]
    return found


async def tell(door: Door, body: Any, **headers: str | None) -> httpx.Response:
    """Send a status; whatever is in it, the answer is 200."""
    answer = await door.post("/api/v1/status", body, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    assert "errors" not in answer.json()
    return answer


async def run(door: Door, job: Job[None] = jobs.watch_instances) -> None:
    """Run a schedule once."""
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, door.now, "")
    await job.run(JobContext(door.resources, claimed))


async def news(door: Door) -> list[tuple[str, dict[str, Any]]]:
    """Return the notices of agents, oldest first, without their times; and forget them."""
    rows = await door.rows(
        "SELECT kind, data - ARRAY['at', 'since', 'last_seen'] AS data FROM notices WHERE kind LIKE 'agent.%'"
        " ORDER BY epoch, txid, id"
    )
    await door.behind.execute("DELETE FROM notices")
    return [(row["kind"], json.loads(row["data"])) for row in rows]
