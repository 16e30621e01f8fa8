"""Losses of agents, and the older score at thresholds of receivers: told once, whatever the batch sizes."""

import json
from datetime import timedelta
from typing import Any

import pytest

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.scores import apply, jobs
from guardhouse.scores.apply import Engines
from server.tests.components.hosts import Host, call, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.make import forget_scores, same, snapshot

NAME = "risk_threshold_crossed"


async def subscribe(door: Door, kind: str = NAME, **narrowed: int) -> None:
    """Register an endpoint; behind the door, which would not let it lead to where nothing is."""
    await door.behind.execute(
        "INSERT INTO webhook_endpoints (id, tenant_id, shard, channel, channel_config, url, kinds, filter, preset,"
        " steps, timeout_ms, concurrency, fifo, secret, state, replays, notices, version, created_by, created_at,"
        " updated_at) VALUES (gen_random_uuid(), $1, 0, 'webhook', '{}', 'https://192.0.2.1/', $2, $3, 'standard',"
        " '{1}', 1000, 1, false, '', 'active', 0, 0, 1, 'test', now(), now())",
        door.tenant.id,
        [kind],
        json.dumps(narrowed),
    )


async def told(door: Door, kind: str = NAME) -> list[dict[str, Any]]:
    rows = await door.rows("SELECT data::text FROM notices WHERE kind = $1 ORDER BY txid, id", kind)
    return [json.loads(row["data"]) for row in rows]


def climbs(clock: SetClock) -> list[dict[str, Any]]:
    """A process at 100, down to 55 (armed again), up to 77.5; then one more that stays between."""
    begin = clock.now() - timedelta(hours=1)
    names = ["ptrace", "read", "ptrace", "ptrace"]
    return [call(name, begin + timedelta(seconds=n), seq=n) for n, name in enumerate(names)]


async def test_nothing_is_said_while_nobody_subscribed(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await subscribe(door, "*")
    await host.accepted(climbs(clock))
    await score_everything(resources)
    assert await told(door) == []
    assert await door.count("risk_score_episodes") == 0


async def test_each_threshold_is_told_once_until_it_is_ten_below(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await subscribe(door)
    await subscribe(door, risk_threshold=40)
    await host.accepted(climbs(clock))
    await score_everything(resources)
    assert [(one["threshold"], one["risk_score"]) for one in await told(door)] == [
        (40, 100),
        (70, 100),
        (70, 70),
    ]
    gone = {"pid": 100, "kind": "exit", "code": 0, "seq": 9, "timestamp": clock.now().isoformat()}
    await host.accepted([gone])
    await score_everything(resources)
    assert await door.count("risk_score_episodes") == 0


@pytest.mark.parametrize("threshold", [0, 101, 70.5, "x"])
async def test_a_threshold_beyond_the_scale_is_refused(door: Door, threshold: Any) -> None:
    filter_ = {"risk_threshold": threshold}
    wanted = {"url": "https://example.com/", "kinds": [NAME], "filter": filter_}
    answer = await door.post("/api/v1/webhooks", wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == "/filter/risk_threshold"


@pytest.mark.parametrize("size", [1, 3])
async def test_batch_sizes_and_restarts_do_not_change_a_byte(
    door: Door, host: Host, resources: Resources, clock: SetClock, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    await subscribe(door)
    events = climbs(clock)
    events.insert(2, {"kind": "loss", "count": 3, "timestamp": events[1]["timestamp"], "seq": 50})
    await host.accepted(events)
    await score_everything(resources)
    whole = await snapshot(door)
    assert len(await told(door, "agent.loss")) == 1
    assert len(whole["risk_score_episodes"]) == 1
    monkeypatch.setattr(apply, "STEP_EVENTS", size)
    monkeypatch.setattr(apply, "MAX_ENGINES", 1)
    await forget_scores(door)
    while await score_everything(resources, Engines(RuleSet.builtin())):
        pass
    same(await snapshot(door), whole)


async def test_losses_are_told_from_one_percent_and_once_an_hour(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=3)

    def lost(minute: int, count: int, seq: int) -> dict[str, Any]:
        at = (begin + timedelta(minutes=minute)).isoformat()
        return {"kind": "loss", "count": count, "where": "kernel", "timestamp": at, "seq": seq}

    calm = [call("read", begin, seq=n) for n in range(200)]
    await host.accepted([*calm, lost(0, 1, 200)])
    await score_everything(resources)
    assert await told(door, "agent.loss") == []
    await host.accepted([lost(1, 2, 201), lost(2, 9, 202), lost(59, 9, 203)])
    await score_everything(resources)
    (first,) = await told(door, "agent.loss")
    assert (first["agent_id"], first["lost"], first["received"]) == ("web-1", 3, 200)
    await host.accepted([lost(61, 9, 204)])
    await score_everything(resources)
    assert len(await told(door, "agent.loss")) == 2


async def test_episodes_of_processes_long_gone_are_forgotten(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await subscribe(door)
    await host.accepted(climbs(clock))
    await score_everything(resources)
    job = ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), "")
    await jobs.prune_episodes.run(JobContext(resources, job))
    assert await door.count("risk_score_episodes") == 1
    clock.move(8 * 86_400)
    await jobs.prune_episodes.run(JobContext(resources, job))
    assert await door.count("risk_score_episodes") == 0
