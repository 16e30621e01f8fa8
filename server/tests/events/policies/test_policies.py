"""Policies: observe, propose, enforce; the ladder, the brakes, the echo; findings; simulations; nobody else's."""

import asyncio
from typing import Any

import pytest

from guardhouse.events.policies import jobs, store
from guardhouse.events.policies.act import ACTIVE_BANS
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.transaction import system_transaction
from server.tests.components import hosts
from server.tests.events.ips.make import ATTACKER, attack, rate
from server.tests.events.policies.make import actions, document, judge, policy, read_notices, send, start
from server.tests.ingest.make import Door


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
