"""Projects that keep their telemetry shorter, and projects that were archived long ago."""

from datetime import timedelta

from guardhouse.agents.projects.jobs import end_projects
from guardhouse.events.jobs import keep_projects
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, batch, counts, open_door


def context(door: Door) -> JobContext:
    return JobContext(door.resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, door.now, ""))


async def call(door: Door, method: str, path: str, body: object = None) -> dict[str, object]:
    answer = await door.client.request(method, f"/api/v1{path}", json=body, headers={"x-api-key": door.key})
    assert answer.is_success, answer.text
    found: dict[str, object] = answer.json() if answer.content else {}
    return found


async def test_a_project_forgets_earlier_than_the_platform(resources: Resources, database: Clone) -> None:
    async with open_door(resources, database.superuser_url) as door:
        await call(door, "POST", "/projects", {"slug": "short", "settings": {"retention_days": 1}})
        old = (door.now - timedelta(days=1, minutes=5)).isoformat()
        items = [
            door.event(timestamp=old),
            door.event(),
            door.event(event_type="suspicious_request", timestamp=old),
        ]
        body = batch(items, [door.metric(timestamp=old), door.metric()])
        for project in ("short", "long"):
            assert counts(await door.events(body, x_project_id=project)) == (4, 0, 1, 0)
        await keep_projects.run(context(door))
        for table, left in (("events", 3), ("metrics", 3), ("event_rollups", 1)):
            assert await door.count(table) == left, table


async def test_a_project_ends_thirty_days_after_it_was_archived(
    resources: Resources, database: Clone
) -> None:
    async with open_door(resources, database.superuser_url) as door:
        made = await call(door, "POST", "/projects", {"slug": "shop", "external_ids": ["proj_1"]})
        path = f"/projects/{made['id']}"
        key = await call(door, "POST", f"{path}/keys", {"name": "app"})
        await call(door, "POST", f"{path}/signing-secrets")
        await call(door, "DELETE", path)
        await end_projects.run(context(door))
        assert (await call(door, "GET", path))["state"] == "archived"
        await door.behind.execute("UPDATE projects SET archived_at = archived_at - interval '31 days'")
        await end_projects.run(context(door))
        gone = await door.client.get(f"/api/v1{path}", headers={"x-api-key": door.key})
        assert gone.status_code == 404
        assert (await call(door, "GET", f"/keys/{key['id']}"))["state"] == "revoked"
        assert await door.count("project_secrets") == 0
        again = await call(door, "POST", "/projects", {"slug": "shop", "external_ids": ["proj_1"]})
        assert again["id"] != made["id"]
