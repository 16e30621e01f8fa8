"""From what a process does to what people hear: crossing, incident, webhook, channel, and the end of it."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components import hosts
from server.tests.components.hosts import Host, attack, call
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.components.receiver import answer, receiving
from server.tests.ingest.make import Door, open_door
from server.tests.webhooks import make
from server.tests.webhooks.channels import make as channels

SHADOW = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}


@pytest.fixture
def clock() -> SetClock:
    return hosts.noon()


@pytest_asyncio.fixture
async def resources(database: Clone, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database.database_url, tmp_path, clock=clock, egress_allow=make.OPEN_LOOPBACK) as found:
        await hosts.make_days(found)
        yield found


@pytest_asyncio.fixture
async def door(resources: Resources, database: Clone) -> AsyncIterator[Door]:
    async with open_door(resources, database.superuser_url) as found:
        found.client.headers["X-API-Key"] = found.key
        yield found


async def test_one_crossing_is_one_webhook_and_one_notification_and_its_end_too(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    async with receiving(answer(200)) as hook, receiving(channels.slack) as slack:
        registered = await door.client.post("/api/v1/webhooks", json={"url": hook.url(), "kinds": ["risk.*"]})
        assert registered.status_code == 201, registered.text
        await channels.channel(door.client, "slack", url=slack.url(), kinds=["risk.*"], min_severity="high")
        host = Host(door.client, door.key)
        at = clock.now() - timedelta(minutes=1)
        reads = [call("openat", at, seq=n, exe="/usr/bin/cat", args=SHADOW, ret=3) for n in range(2)]
        async with make.running(resources):
            await host.accepted(reads[:1])
            await hosts.score_everything(resources)
            await make.until_states(resources, delivered=2)
            clock.move(3 * 3600)
            await hosts.cool_everything(resources)
            await make.until_states(resources, delivered=4)
    (incident,) = (await door.client.get("/api/v1/risk/incidents")).json()["data"]
    bodies = [json.loads(request.body) for request in hook.requests]
    assert [body["type"] for body in bodies] == ["risk.band_crossed", "risk.incident_closed"]
    assert {body["data"]["incident_id"] for body in bodies} == {incident["id"]}
    assert [body["text"].partition("]")[0] for body in channels.bodies(slack)] == ["[high", "[high"]
    assert "Resolved: Risk" in channels.bodies(slack)[1]["text"]


async def test_a_whole_attack_is_one_notification(door: Door, resources: Resources, clock: SetClock) -> None:
    async with receiving(answer(200)) as hook, receiving(channels.slack) as slack:
        await door.client.post("/api/v1/webhooks", json={"url": hook.url(), "kinds": ["risk.band_crossed"]})
        await channels.channel(door.client, "slack", url=slack.url(), kinds=["risk.*"])
        await Host(door.client, door.key).accepted(attack(clock.now() - timedelta(minutes=1), seq=0))
        await hosts.score_everything(resources)
        told = (await door.client.get("/api/v1/risk/incidents")).json()["data"][0]["id"]
        lines = (await door.client.get(f"/api/v1/risk/incidents/{told}")).json()["told"]
        async with make.running(resources):
            await make.until_states(resources, delivered=len(lines) + 1)
    assert len(hook.requests) == len(lines) > 1
    assert len(slack.requests) == 1
