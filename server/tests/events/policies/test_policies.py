"""Policies: observe, propose, enforce; the ladder, the brakes, the echo; findings; simulations; nobody else's."""

import asyncio
from typing import Any

import pytest

from guardhouse.events.policies import jobs, store
from guardhouse.events.policies.act import ACTIVE_BANS
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.transaction import system_transaction
from server.tests.components import hosts
from server.tests.components.postgres import Clone
from server.tests.events.ips.make import ATTACKER, attack, project_of, rate
from server.tests.events.policies.make import actions, document, judge, policy, read_notices, send
from server.tests.ingest.make import Door, batch, open_door


async def start(door: Door) -> None:
    """Let the project exist, with enough harmless events that nobody made a fifth of them."""
    events = [
        door.event(
            event_type="security_headers_applied",
            ip_address=f"198.18.{n // 250}.{n % 250}",
            idempotency_key=str(n),
        )
        for n in range(400)
    ]
    await door.events(batch(events, batch_id="start"), x_project_id="shop")


async def test_an_enforced_ban_reaches_agents_and_is_audited_with_evidence(door: Door) -> None:
    await start(door)
    made = await policy(door)
    await attack(door, 15)
    await judge(door)
    await judge(door)
    got = await document(door)
    assert got["ip_blacklist"] == [ATTACKER]
    (action,) = await actions(door)
    assert (action["state"], action["net"], action["step"], action["for_seconds"]) == (
        "enforced",
        ATTACKER,
        0,
        900,
    )
    assert (action["evidence"]["score"], len(action["evidence"]["event_ids"])) == (666, 3)
    rule = (await send(door, "GET", f"/rules/{action['rule_id']}")).json()
    assert (rule["source"], rule["priority"], rule["expires_at"]) == ("auto", 666, action["until"])
    (entry,) = await door.rows("SELECT actor, after FROM audit_log WHERE action = 'rule_policy.ban'")
    assert entry["actor"] == f"policy:{made['id']}"
    assert action["evidence"]["event_ids"][0] in str(entry["after"])


async def test_observing_does_nothing_but_write_down(door: Door) -> None:
    await start(door)
    await policy(door, mode="observe")
    await attack(door, 15)
    await judge(door)
    assert [action["state"] for action in await actions(door)] == ["observed"]
    assert await document(door) == {}
    assert await door.count("rule_revisions") == 0


async def test_a_proposal_is_told_and_accepted_with_one_call(door: Door, clock: SetClock) -> None:
    await start(door)
    await policy(door, mode="suggest")
    await attack(door, 15)
    await judge(door)
    (told,) = await door.rows("SELECT data->>'action_id' AS id, data->>'net' AS net, severity FROM notices"
                              " WHERE kind = 'rules.proposed'")  # fmt: skip
    assert (told["net"], told["severity"]) == (ATTACKER, "medium")
    assert await document(door) == {}
    clock.move(300)
    accepted = await send(door, "POST", f"/rule-actions/{told['id']}:accept", json={})
    assert (accepted.status_code, accepted.json()["state"]) == (200, "accepted")
    assert (await document(door))["ip_blacklist"] == [ATTACKER]
    again = await send(door, "POST", f"/rule-actions/{told['id']}:accept", json={})
    assert (again.status_code, again.json()["code"]) == (409, "proposal_decided")


async def test_a_dismissed_address_is_left_alone_for_a_while(door: Door, clock: SetClock) -> None:
    await start(door)
    await policy(door, mode="suggest")
    await attack(door, 15)
    await judge(door)
    (action,) = await actions(door)
    dismissed = await send(door, "POST", f"/rule-actions/{action['id']}:dismiss", json={"reason": "ours"})
    assert dismissed.json()["state"] == "dismissed"
    for seconds, expected in ((600, 1), (600, 2)):
        clock.move(seconds)
        await attack(door, 15)
        await judge(door)
        assert len(await actions(door)) == expected


async def test_a_proposal_that_ran_out_cannot_be_accepted(door: Door, clock: SetClock) -> None:
    await start(door)
    await policy(door, mode="suggest")
    await attack(door, 15)
    await judge(door)
    (action,) = await actions(door)
    clock.move(901)
    answer = await send(door, "POST", f"/rule-actions/{action['id']}:accept", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "proposal_decided")


async def test_repeat_offenders_climb_and_fall_back_after_seven_quiet_days(
    door: Door, clock: SetClock
) -> None:
    await start(door)
    await policy(door, mode="observe", then={"for_s": [900, 3600, 86_400]})
    for pause, steps in ((0, [0]), (901, [1]), (3601, [2]), (86_401, [2]), (86_400 * 8 + 1, [0])):
        clock.move(pause)
        await hosts.make_days(door.resources)
        before = len(await actions(door))
        await attack(door, 15)
        await judge(door)
        await attack(door, 15, endpoint="/again")  # while the ban would last nothing more happens
        await judge(door)
        found = await actions(door)
        assert [action["step"] for action in found[: len(found) - before]] == steps


async def test_more_than_so_many_an_hour_pause_the_policy(door: Door, clock: SetClock) -> None:
    await start(door)
    made = await policy(door, max_per_hour=2)
    for number in range(4):
        await attack(door, 15, ip_address=f"203.0.113.{number}")
    await judge(door)
    assert len((await document(door))["ip_blacklist"]) == 2
    shown = (await send(door, "GET", f"/rule-policies/{made['id']}")).json()
    assert shown["paused_by"] == "max_per_hour"
    (told,) = await door.rows("SELECT severity FROM notices WHERE kind = 'rules.policy_paused'")
    assert told["severity"] == "high"
    await attack(door, 15, ip_address="203.0.113.9")
    await judge(door)
    assert len(await actions(door)) == 2
    clock.move(3601)
    again = await send(door, "PATCH", f"/rule-policies/{made['id']}", json={"enabled": True})
    assert again.json()["paused_by"] is None
    await attack(door, 15, ip_address="203.0.113.9")
    await judge(door)
    assert len(await actions(door)) == 3


async def test_two_hundred_active_automatic_bans_pause_the_policy(door: Door) -> None:
    await start(door)
    made = await policy(door, max_per_hour=1000)
    operations = [
        {"op": "add", "kind": "ban_net", "value": {"net": f"198.51.{n // 200}.{n % 200}"}}
        for n in range(ACTIVE_BANS)
    ]
    for operation in operations[:1]:
        body = {name: value for name, value in operation.items() if name != "op"}
        assert (await send(door, "POST", "/rules", json=body)).status_code == 201
    await door.behind.execute(
        "INSERT INTO rules (project_id, rule_id, since, tenant_id, kind, value, target, source, priority, enabled,"
        " created_at, created_by) SELECT project_id, gen_random_uuid(), since, tenant_id, kind,"
        " jsonb_build_object('net', '198.51.100.' || n), target, 'auto', priority, enabled, created_at, created_by"
        f" FROM rules, generate_series(1, {ACTIVE_BANS}) AS n"
    )
    await attack(door, 15)
    await judge(door)
    shown = (await send(door, "GET", f"/rule-policies/{made['id']}")).json()
    assert shown["paused_by"] == "active_bans"
    assert await actions(door) == []


@pytest.mark.parametrize(
    ("address", "members", "code"),
    [
        ("10.1.2.3", {}, "private_network"),
        ("::1", {}, "private_network"),
        (ATTACKER, {"never": ["203.0.113.0/24"]}, "never_ban"),
        ("2001:db8::5", {"never": ["2001:db8::/48"]}, "never_ban"),
    ],
)
async def test_guarded_addresses_are_refused_with_an_audit_entry(
    door: Door, address: str, members: dict[str, Any], code: str
) -> None:
    await start(door)
    await policy(door, **members)
    await attack(door, 15, ip_address=address)
    await judge(door)
    (action,) = await actions(door)
    assert (action["state"], action["refused_for"]) == ("refused", code)
    assert await document(door) == {}
    assert len(await door.rows("SELECT FROM audit_log WHERE action = 'rule_policy.refuse'")) == 1


async def test_what_the_project_never_bans(door: Door) -> None:
    await start(door)
    changed = await send(door, "PATCH", "", json={"settings": {"never_ban": ["203.0.113.0/25"]}})
    assert changed.status_code == 200, changed.text
    await policy(door)
    await attack(door, 15)
    await judge(door)
    assert [action["refused_for"] for action in await actions(door)] == ["never_ban"]


async def test_a_proxy_is_not_banned(door: Door) -> None:
    await attack(door, 3, ip_address="198.51.100.1")
    await policy(door)
    for number in range(5):
        await attack(door, 15, user_agent=f"browser/{number}")
    await judge(door)
    assert [action["refused_for"] for action in await actions(door)] == ["proxy"]


async def test_a_busy_address_with_few_user_agents_is_no_proxy(door: Door) -> None:
    await attack(door, 3, ip_address="198.51.100.1")
    await policy(door)
    for number in range(4):
        await attack(door, 15, user_agent=f"browser/{number}")
    await judge(door)
    assert [action["state"] for action in await actions(door)] == ["enforced"]


async def test_bursts_of_events(door: Door) -> None:
    await start(door)
    cause = {
        "source": "events",
        "types": ["authentication_failed"],
        "count": 6,
        "window_s": 300,
        "distinct_endpoints": 2,
    }
    await policy(door, when=cause, then={"for_s": [60], "prefix_v6": 48})
    await attack(door, 9, event_type="authentication_failed", endpoint="/login", ip_address="2001:db8:1::7")
    await attack(door, 9, event_type="authentication_failed", endpoint="/login")
    await attack(door, 9, event_type="rate_limited", endpoint="/other")
    await judge(door)
    assert await actions(door) == []
    await attack(door, 1, event_type="authentication_failed", endpoint="/token", ip_address="2001:db8:1::8")
    await judge(door)
    (action,) = await actions(door)
    assert (action["net"], action["reason"]) == ("2001:db8:1::/48", "10 events at 2 endpoints within 300 s")


async def test_a_finding_reaches_a_policy_through_its_notice(door: Door) -> None:
    await start(door)
    await read_notices(door)  # a reader begins at the end of the log
    await policy(door, when={"source": "finding", "kinds": ["ip.score_crossed"], "min_severity": "high"})
    await attack(door, 3, ip_address="198.51.100.4")
    await attack(door, 15)
    await judge(door)
    assert await actions(door) == []
    for _ in range(2):
        await read_notices(door)
    (action,) = await actions(door)
    assert (action["net"], action["reason"]) == (ATTACKER, "ip.score_crossed, high")
    assert action["evidence"]["score"] == 666


async def test_two_workers_at_once_ban_once(door: Door) -> None:
    await start(door)
    await policy(door)
    await attack(door, 15)
    await rate(door)
    await asyncio.gather(*(jobs.judge_once(door.resources) for _ in range(4)))
    assert len(await actions(door)) == 1
    assert await door.count("rule_revisions") == 1


async def test_an_address_that_does_more_while_it_is_judged_is_judged_again(door: Door) -> None:
    await start(door)
    await policy(door)
    await attack(door, 3)
    await rate(door)
    async with system_transaction(door.resources.database) as tx:
        seen = await store.list_unjudged(tx, 10)
    await attack(door, 12, endpoint="/more")
    await rate(door)
    async with system_transaction(door.resources.database) as tx:
        await store.settle(tx, seen)
    await judge(door)
    assert [action["state"] for action in await actions(door)] == ["enforced"]
    assert await door.rows("SELECT FROM ip_scores WHERE unjudged") == []


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
