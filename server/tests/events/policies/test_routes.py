"""Policies over HTTP: made, changed, refused, tried out on what happened; nobody else's."""

from typing import Any

import pytest

from server.tests.components.postgres import Clone
from server.tests.events.ips.make import attack, project_of, rate
from server.tests.events.policies.make import actions, judge, policy, send, start
from server.tests.ingest.make import Door, open_door


async def test_a_simulation_says_what_enforcing_would_have_done(door: Door) -> None:
    await start(door)
    made = await policy(door, mode="observe", max_per_hour=3, never=["198.51.100.0/24"])
    await attack(door, 15, minutes_ago=100)
    await attack(door, 15, minutes_ago=40)
    await attack(door, 15, ip_address="198.51.100.7", minutes_ago=30)
    await rate(door)
    before = {table: await door.count(table) for table in ("rule_actions", "rule_revisions", "notices")}
    said = (await send(door, "POST", f"/rule-policies/{made['id']}:simulate", json={"hours": 2})).json()
    assert (said["bans"], said["networks"], said["refused"], said["whole"]) == (2, 1, {"never_ban": 1}, True)
    assert [ban["step"] for ban in said["first"]] == [0, 1]
    short = (await send(door, "POST", f"/rule-policies/{made['id']}:simulate", json={"hours": 1})).json()
    assert (short["bans"], short["paused_by"]) == (1, None)
    assert before == {table: await door.count(table) for table in before}
    for number in range(5):
        await attack(door, 15, ip_address=f"203.0.113.{100 + number}", minutes_ago=20)
    await rate(door)
    said = (await send(door, "POST", f"/rule-policies/{made['id']}:simulate", json={"hours": 2})).json()
    assert (said["paused_by"], said["bans"]) == ("max_per_hour", 4)


@pytest.mark.parametrize(
    ("cause", "bans"),
    [
        ({"source": "events", "types": ["penetration_attempt"], "count": 10, "window_s": 60}, 1),
        ({"source": "events", "types": ["penetration_attempt"], "count": 16, "window_s": 60}, 0),
        ({"source": "finding", "kinds": ["ip.score_crossed"], "min_severity": "medium"}, 1),
        ({"source": "finding", "kinds": ["ip.score_crossed"], "min_severity": "critical"}, 0),
    ],
)
async def test_simulations_by_events_and_findings(door: Door, cause: dict[str, Any], bans: int) -> None:
    await start(door)
    made = await policy(door, when=cause)
    await attack(door, 15)
    await rate(door)
    await door.behind.execute("UPDATE notices SET occurred_at = $1", door.now)
    said = (await send(door, "POST", f"/rule-policies/{made['id']}:simulate", json={"hours": 1})).json()
    assert said["bans"] == bans


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"when": {"source": "ip_score", "at_least": 0}}, "validation_failed"),
        ({"when": {"source": "ip_score", "at_least": 1000}}, "validation_failed"),
        ({"when": {"source": "weather"}}, "validation_failed"),
        ({"when": {"source": "events", "types": [], "count": 1, "window_s": 1}}, "validation_failed"),
        (
            {"when": {"source": "events", "types": ["suspicious_request"], "count": 1, "window_s": 9}},
            "policy_invalid",
        ),
        ({"when": {"source": "finding", "kinds": ["no.such"]}}, "policy_invalid"),
        ({"then": {"for_s": []}}, "validation_failed"),
        ({"then": {"for_s": [1]}}, "validation_failed"),
        ({"then": {"kind": "block_country"}}, "validation_failed"),
        ({"then": {"prefix_v6": 65}}, "validation_failed"),
        ({"mode": "destroy"}, "validation_failed"),
        ({"max_per_hour": 0}, "validation_failed"),
        ({"never": ["10.0.0.0/33"]}, "policy_invalid"),
        ({"target": {"agent_version": "new"}}, "policy_invalid"),
        ({"surprise": 1}, "validation_failed"),
    ],
    ids=str,
)
async def test_what_is_refused_of_a_policy(door: Door, change: dict[str, Any], code: str) -> None:
    await start(door)
    made = await policy(door)
    new = await send(
        door,
        "POST",
        "/rule-policies",
        json={"name": "x", "when": {"source": "ip_score", "at_least": 600}} | change,
    )
    changed = await send(door, "PATCH", f"/rule-policies/{made['id']}", json=change)
    for answer in (new, changed):
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"]
    assert (await send(door, "GET", f"/rule-policies/{made['id']}")).json() == made


async def test_policies_are_made_changed_listed_and_taken_out(door: Door) -> None:
    await start(door)
    body = {"name": "a", "when": {"source": "ip_score", "at_least": 600}}
    first = (await send(door, "POST", "/rule-policies", json=body)).json()
    assert (first["mode"], first["max_per_hour"], first["then"]["for_s"]) == (
        "observe",
        20,
        [900, 3600, 86_400],
    )
    second = await policy(door, name="b", never=["192.0.2.1/32"])
    assert second["never"] == ["192.0.2.1"]
    page = (await send(door, "GET", "/rule-policies", params={"limit": 1})).json()
    rest = (
        await send(door, "GET", "/rule-policies", params={"limit": 1, "cursor": page["pagination"]["cursor"]})
    ).json()
    assert [*page["data"], *rest["data"]] == [first, second]
    path = f"/rule-policies/{first['id']}"
    stale = await send(door, "PATCH", path, json={"name": "c"}, headers={"if-match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    changed = await send(
        door, "PATCH", path, json={"name": "c", "mode": "suggest"}, headers={"if-match": '"1"'}
    )
    assert (changed.json()["name"], changed.json()["mode"], changed.headers["etag"]) == (
        "c",
        "suggest",
        '"2"',
    )
    assert (await send(door, "DELETE", path)).status_code == 204
    assert (await send(door, "GET", path)).status_code == 404
    entries = await door.rows("SELECT action FROM audit_log WHERE action LIKE 'rule_policy.%' ORDER BY seq")
    assert [row["action"] for row in entries] == ["rule_policy.create"] * 2 + [
        "rule_policy.change",
        "rule_policy.delete",
    ]


async def test_another_tenants_policies_are_not_there(door: Door, database: Clone) -> None:
    await start(door)
    made = await policy(door, mode="suggest")
    await attack(door, 15)
    await judge(door)
    (action,) = await actions(door)
    shop = await project_of(door)
    async with open_door(door.resources, database.superuser_url, slug="other") as other:
        for method, path in (
            ("GET", f"/rule-policies/{made['id']}"),
            ("DELETE", f"/rule-policies/{made['id']}"),
            ("POST", f"/rule-policies/{made['id']}:simulate"),
            ("POST", f"/rule-actions/{action['id']}:accept"),
            ("POST", f"/rule-actions/{action['id']}:dismiss"),
            ("GET", "/rule-actions"),
        ):
            answer = await other.client.request(
                method,
                f"/api/v1/projects/{shop}{path}",
                headers={"x-api-key": other.key},
                json={} if method == "POST" else None,
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert [each["state"] for each in await actions(door)] == ["proposed"]
