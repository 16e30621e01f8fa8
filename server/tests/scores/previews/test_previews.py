"""Previews: what a change would have done on stored days, before it is saved."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, GiveUp, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.scores.previews import jobs, preview
from server.tests.components.hosts import Host, score_everything
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door
from server.tests.scores.rules.make import payroll, reading, send

ASK = "/api/v1/scores:preview"
SECRET = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}


async def asked(door: Door, **body: Any) -> dict[str, Any]:
    answer = await send(door, "POST", ASK, body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/v1/scores/previews/{found['id']}"
    return found


async def worked(door: Door, attempt: int = 1) -> None:
    """Run the previews that were asked for, as the worker would."""
    for row in await door.rows("SELECT id, payload::text AS payload FROM jobs WHERE name = 'scores.preview'"):
        claimed = ClaimedJob(
            row["id"], "scores.preview", row["payload"], door.tenant, "x", attempt, 0, door.now, ""
        )
        await jobs.run_preview.run(JobContext(door.resources, claimed))


async def tried(door: Door, **body: Any) -> dict[str, Any]:
    made = await asked(door, **body)
    assert (made["state"], made["result"]) == ("running", None)
    await worked(door)
    answer = await send(door, "GET", f"/api/v1/scores/previews/{made['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["state"] == "done"
    result: dict[str, Any] = found["result"]
    return result


def counts(result: Mapping[str, Any]) -> tuple[int, int, int]:
    return tuple(result[kind]["count"] for kind in ("appear", "vanish", "change"))


@pytest_asyncio.fixture
async def two_hosts(door: Door, host: Host, resources: Resources, clock: SetClock) -> Door:
    """One host reads the shadow file today and files of the payroll yesterday, another one those of the payroll."""
    now = clock.now()
    events = [
        reading(pid=200, start=8, timestamp=(now - timedelta(days=1)).isoformat()),
        reading(args=SECRET, timestamp=(now - timedelta(hours=1)).isoformat()),
    ]
    await host.accepted([event | {"seq": n} for n, event in enumerate(events)])
    await Host(door.client, door.key, id="web-2").accepted(
        [reading(timestamp=(now - timedelta(minutes=1)).isoformat())]
    )
    await score_everything(resources)
    return door


async def test_a_rule_shows_the_incidents_that_would_appear(two_hosts: Door) -> None:
    rule = payroll() | {"id": "payroll_read"}
    result = await tried(two_hosts, rule=rule)
    assert counts(result) == (2, 0, 0)
    assert (result["agents"], result["events"], result["complete"]) == (2, 3, True)
    assert (result["incidents_before"], result["incidents_after"]) == (1, 3)
    first, second = result["appear"]["incidents"]
    assert (first["tree_id"], second["tree_id"]) == ("web-1:200:8", "web-2:100:7")
    assert first["before"] is None
    assert first["after"] == {"band": "medium", "risk": 66.71, "evidence": ["rule.payroll_read"]}
    assert await two_hosts.count("risk_rule_sets") == 0  # nothing was saved
    one = await tried(two_hosts, rule=rule, agent_id="web-2")
    assert (counts(one), one["agents"], one["events"]) == ((1, 0, 0), 1, 1)


async def test_an_override_shows_what_would_vanish_or_change(two_hosts: Door) -> None:
    gone = await tried(two_hosts, override={"rule_id": "credential_read", "enabled": False})
    assert counts(gone) == (0, 1, 0)
    (incident,) = gone["vanish"]["incidents"]
    assert (incident["tree_id"], incident["exe"], incident["after"]) == ("web-1:100:7", "/bin/cat", None)
    assert incident["before"]["evidence"] == ["rule.credential_read"]
    excepted = {"rule_id": "credential_read", "except": [{"exe": {"eq": "/bin/cat"}}]}
    assert counts(await tried(two_hosts, override=excepted)) == (0, 1, 0)
    higher = await tried(two_hosts, override={"rule_id": "credential_read", "weight": 2.5})
    assert counts(higher) == (0, 0, 1)
    (incident,) = higher["change"]["incidents"]
    assert (incident["before"]["band"], incident["after"]["band"]) == ("medium", "high")
    assert counts(await tried(two_hosts, override={"rule_id": "mass_rename", "weight": 3})) == (0, 0, 0)


async def test_only_the_days_asked_for_are_looked_at(two_hosts: Door, clock: SetClock) -> None:
    clock.move(12 * 3600)
    result = await tried(two_hosts, rule=payroll() | {"id": "payroll_read"}, days=1)
    assert (counts(result), result["events"]) == ((1, 0, 0), 2)


async def test_a_preview_is_bounded_and_says_so(two_hosts: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_EVENTS", 2)
    result = await tried(two_hosts, rule=payroll() | {"id": "payroll_read"})
    assert (result["events"], result["agents"], result["complete"]) == (2, 1, False)


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"rule": payroll()}, 422, "rule_invalid", "/rule/id"),
        ({"rule": payroll(id="x_y", weight=4)}, 422, "rule_invalid", "/rule/weight"),
        ({"rule": payroll(id="setuid_bit")}, 422, "rule_invalid", "/rule/id"),
        ({"override": {"rule_id": "exec_tmp", "weight": 4}}, 422, "rule_invalid", "/override/weight"),
        ({"override": {"rule_id": "nothing_here"}}, 404, "not_found", None),
        ({"override": {"rule_id": "exec_tmp"}, "agent_id": "web-9"}, 404, "not_found", None),
        ({"override": {"rule_id": "exec_tmp"}, "days": 15}, 422, "validation_failed", "/days"),
        ({"override": {"rule_id": "exec_tmp"}, "days": 0}, 422, "validation_failed", "/days"),
        ({}, 422, "validation_failed", ""),
    ],
)
async def test_what_could_not_be_saved_is_not_tried(
    door: Door, body: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    answer = await send(door, "POST", ASK, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if pointer is not None:
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await door.count("score_previews") == 0


async def test_few_run_at_once_and_one_that_cannot_run_has_failed(door: Door, database: Clone) -> None:
    made = [await asked(door, override={"rule_id": "exec_tmp"}) for _ in range(preview.MAX_RUNNING)]
    answer = await send(door, "POST", ASK, {"override": {"rule_id": "exec_tmp"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    for _ in made:
        with pytest.raises(GiveUp):
            await worked(door, attempt=jobs.MAX_ATTEMPTS + 1)
        await door.behind.execute(
            "DELETE FROM jobs WHERE id = (SELECT min(id) FROM jobs WHERE name = 'scores.preview')"
        )
    states = await door.rows("SELECT DISTINCT state FROM score_previews")
    assert [row[0] for row in states] == ["failed"]
    async with open_door(door.resources, database.superuser_url, slug="other") as second:
        assert (await send(second, "GET", f"/api/v1/scores/previews/{made[0]['id']}")).status_code == 404


async def test_the_same_key_asks_once(door: Door) -> None:
    headers = {"x-api-key": door.key, "idempotency-key": "p-1"}
    answers = [
        await door.client.post(ASK, json={"override": {"rule_id": "exec_tmp"}}, headers=headers)
        for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
    assert await door.count("score_previews") == 1


async def test_old_previews_go(door: Door, clock: SetClock) -> None:
    await asked(door, override={"rule_id": "exec_tmp"})
    clock.move(31 * 24 * 3600)
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), "")
    await jobs.prune_previews.run(JobContext(door.resources, claimed))
    assert await door.count("score_previews") == 0
