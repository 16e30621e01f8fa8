"""Host agents that fall silent are told of once per silence."""

from guardhouse.agents.silence.jobs import tell_silent
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from server.tests.components.door_at_noon import clock, door, host, resources
from server.tests.components.hosts import Host, call
from server.tests.ingest.make import Door

__all__ = ["clock", "door", "host", "resources"]


async def test_a_silence_is_told_once_and_the_next_one_again(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    job = JobContext(resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), ""))

    async def told() -> list[str]:
        await tell_silent.run(job)
        rows = await door.rows("SELECT data->>'agent_id' AS id FROM notices WHERE kind = 'agent.silent'")
        return [row["id"] for row in rows]

    await door.post("/api/v1/agents", {"id": "never-seen"})
    await host.accepted([call()])
    clock.move(19 * 60)
    assert await told() == []
    clock.move(61)
    assert await told() == ["web-1"]
    clock.move(3600)
    assert await told() == ["web-1"]
    await host.accepted([call()])
    assert await told() == ["web-1"]
    clock.move(1200)
    assert await told() == ["web-1", "web-1"]
    gone = await door.client.delete("/api/v1/agents/web-1", headers={"x-api-key": door.key})
    assert gone.status_code == 204
    clock.move(3600)
    assert len(await told()) == 2
