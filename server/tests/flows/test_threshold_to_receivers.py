"""The older score's thresholds, each told to the endpoints that chose it, in the older body."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components import hosts
from server.tests.components.hosts import Host, call
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.components.receiver import answer, receiving
from server.tests.ingest.make import open_door
from server.tests.webhooks import make

NAME = "risk_threshold_crossed"


@pytest.fixture
def clock() -> SetClock:
    return hosts.noon()


@pytest_asyncio.fixture
async def resources(database: Clone, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database.database_url, tmp_path, clock=clock, egress_allow=make.OPEN_LOOPBACK) as found:
        await hosts.make_days(found)
        yield found


async def test_each_endpoint_hears_of_its_own_threshold_in_the_older_body(
    resources: Resources, database: Clone, clock: SetClock
) -> None:
    at = clock.now() - timedelta(minutes=1)
    async with (
        open_door(resources, database.superuser_url) as door,
        receiving(answer(200)) as usual,
        receiving(answer(200)) as low,
        receiving(answer(200)) as every,
    ):
        for receiver, kind, narrowed in (
            (usual, NAME, {}),
            (low, NAME, {"risk_threshold": 45}),
            (every, "*", {}),
        ):
            wanted = {"url": receiver.url(), "kinds": [kind], "filter": narrowed}
            assert (await door.post("/api/v1/webhooks", wanted)).status_code == 201
        await Host(door.client, door.key).accepted([call("execve", at, seq=1), call("ptrace", at, seq=2)])
        await hosts.score_everything(resources)
        async with make.running(resources):
            await make.until_states(resources, delivered=2)
    bodies = [json.loads(receiver.requests[0].body) for receiver in (low, usual)]
    common = {"event_type": NAME, "process_id": "web-1:100", "timestamp": at.timestamp()}
    assert bodies == [
        common | {"risk_score": 50.0, "threshold": 45},
        common | {"risk_score": 75.0, "threshold": 70},
    ]
    assert every.requests == []
