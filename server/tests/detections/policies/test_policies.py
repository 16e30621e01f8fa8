"""Policies over HTTP: versions, limits, which one is in force, and which key is bound to which."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from guardhouse.detections.policies.in_force import Policies
from guardhouse.foundation.database import DatabaseAway, TenantKey, open_database
from guardhouse.identity.caller import Caller
from server.tests.components.door_at_noon import clock, door, host, resources
from server.tests.components.opened import add_tenant, opened
from server.tests.detections.policies.make import (
    ATTACK,
    DETECT,
    POLICIES,
    another_key,
    get,
    judged,
    made,
    patch,
)
from server.tests.ingest.make import Door
from server.tests.worker.make import eventually

__all__ = ["clock", "door", "host", "resources"]


async def default_of(door: Door) -> dict[str, Any]:
    found = (await get(door, POLICIES)).json()["data"]
    return next(dict(one) for one in found if one["name"] == "default")


async def test_every_tenant_has_a_default_that_judges_and_is_named(door: Door) -> None:
    body = await judged(door)
    found = await default_of(door)
    assert (body["policy"], body["policy_version"]) == (found["id"], 1)
    assert found["channels"]["user"] == {"operating_point": "balanced", "review": None, "block": None}
    assert (found["fail_mode"], found["max_chars"], found["rule_packs"]) == ("embedded", 10_000, ["core"])


async def test_a_change_is_the_next_version_and_judges_from_then_on(door: Door) -> None:
    await judged(door)
    found = await default_of(door)
    changed = await patch(door, found, {"channels": {"user": {"block": 0.9999, "review": 0.4}}})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"2"')
    assert changed.json()["channels"]["external"] == found["channels"]["external"]
    body = await judged(door)
    assert (body["policy_version"], body["thresholds"]["review"], body["thresholds"]["block"]) == (
        2,
        0.4,
        1.0,
    )
    versions = (await get(door, f"{POLICIES}/{found['id']}/versions")).json()["data"]
    assert [one["version"] for one in versions] == [2, 1]
    assert versions[1]["channels"] == found["channels"]


async def test_what_changes_nothing_is_no_version(door: Door) -> None:
    policy = await made(door, shadow=True)
    assert (await patch(door, policy, {"shadow": True})).json()["version"] == 1


async def test_an_edit_names_the_version_it_saw(door: Door) -> None:
    policy = await made(door)
    assert (await patch(door, policy, {"shadow": True})).status_code == 200
    late = await patch(door, policy, {"shadow": False})
    assert (late.status_code, late.json()["code"], late.json()["current"]) == (
        412,
        "precondition_failed",
        '"2"',
    )
    blind = await door.client.patch(
        f"{POLICIES}/{policy['id']}", json={"shadow": False}, headers={"x-api-key": door.key}
    )
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition_required")


async def test_null_puts_a_member_back_and_objects_are_merged(door: Door) -> None:
    policy = await made(door, max_chars=50_000, output={"pii": "block"}, tools={"pay": {"sensitive": True}})
    changed = (await patch(door, policy, {"max_chars": None, "output": {"secret": "block"}})).json()
    assert changed["max_chars"] == 10_000
    assert (changed["output"]["pii"], changed["output"]["secret"]) == ("block", "block")
    assert changed["tools"] == {"pay": {"sensitive": True, "destinations": [], "allow": []}}
    changed = (await patch(door, changed, {"tools": {}, "channels": {"user": {"block": 0.7}}})).json()
    assert changed["tools"] == {}
    changed = (await patch(door, changed, {"channels": {"user": {"block": None}}})).json()
    assert changed["channels"]["user"]["block"] is None


async def test_the_call_then_the_key_then_default(door: Door) -> None:
    first, second = await made(door, "first"), await made(door, "second")
    key_id, key = await another_key(door)
    assert (await judged(door, key=key))["policy"] == (await default_of(door))["id"]
    put = await door.client.put(
        f"/api/v1/keys/{key_id}/policy", json={"policy": first["id"]}, headers={"x-api-key": door.key}
    )
    assert (put.status_code, put.json()) == (200, {"key_id": key_id, "policy": first["id"]})
    assert (await get(door, f"/api/v1/keys/{key_id}")).json()["policy_id"] == first["id"]

    async def is_bound() -> bool:
        return bool((await judged(door, key=key))["policy"] == first["id"])

    await eventually(is_bound)  # the key is known for a second as it was
    assert (await judged(door, key=key, policy=second["id"]))["policy"] == second["id"]
    rotated = (await door.post(f"/api/v1/keys/{key_id}/rotate", {})).json()
    assert (await judged(door, key=rotated["api_key"]))["policy"] == first["id"]
    assert (await get(door, "/auth/profile", rotated["api_key"])).json()["policy"] == first["id"]


async def test_a_policy_of_another_tenant_is_none(door: Door) -> None:
    policy = await made(door)
    _, foreign = await add_tenant(door.resources, "foreign")
    answer = await door.post(DETECT, {"text": ATTACK, "policy": policy["id"]}, x_api_key=foreign)
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_not_found")
    assert (await get(door, f"{POLICIES}/{policy['id']}", foreign)).status_code == 404
    key_id, _ = await another_key(door, env="test")  # its policies are the twin's
    put = await door.client.put(
        f"/api/v1/keys/{key_id}/policy", json={"policy": policy["id"]}, headers={"x-api-key": door.key}
    )
    assert (put.status_code, put.json()["code"]) == (422, "policy_not_found")


async def test_a_test_key_is_judged_by_its_twins_default(door: Door) -> None:
    _, key = await another_key(door, env="test")
    own, twins = await judged(door), await judged(door, key=key)
    assert own["policy"] != twins["policy"]


async def test_the_shadow_decides_but_does_not_block(door: Door) -> None:
    policy = await made(door, shadow=True)
    body = await judged(door, policy=policy["id"])
    assert (body["decision"], body["would_decide"], body["is_malicious"]) == ("allow", "block", True)


async def test_a_call_may_lower_the_tier(door: Door) -> None:
    policy = await made(door, tier="deep")
    body = await judged(door, ATTACK, policy=policy["id"], config={"tier": "fast"})
    assert (body["tier"], body["verdict_source"], body["degraded"]) == ("fast", "engine", False)
    assert (body["fallback_reason"], body["decision"]) == (None, "block")
    again = await judged(door, ATTACK, policy=policy["id"])
    assert (again["degraded"], again["cached"]) == (True, False)


async def test_a_tier_that_is_not_installed_is_stood_in_for(door: Door) -> None:
    policy = await made(door, tier="standard")
    body = await judged(door, policy=policy["id"])
    assert (body["tier"], body["verdict_source"], body["degraded"]) == ("fast", "fallback", True)
    assert (body["fallback_reason"], body["decision"]) == ("tier_unavailable", "block")


async def test_the_policy_says_how_long_a_text_may_be(door: Door) -> None:
    long, short = await made(door, "long", max_chars=100_000), await made(door, "short", max_chars=5)
    text = "All quiet here. " * 1_000
    assert (await judged(door, text, policy=long["id"]))["policy"] == long["id"]
    for body in ({"text": text}, {"text": "123456", "policy": short["id"]}):
        answer = await door.post(DETECT, body)
        assert (answer.status_code, answer.json()["code"]) == (422, "text_too_long")
        assert "max_chars" in answer.json()["remediation"]


async def test_another_process_knows_of_a_change(door: Door, tmp_path: Path, database_url: str) -> None:
    async with opened(database_url, tmp_path / "other", clock=door.resources.clock) as other:
        there = Policies(other)
        caller = Caller(door.tenant, "acme", "key", "admin", frozenset(), str(UUID(int=1)))

        async def listens() -> bool:
            await there.in_force(caller)
            return other.wake.connected

        async def is_shadow() -> bool:
            return (await there.in_force(caller)).shadow

        await eventually(listens)
        assert not await is_shadow()
        await patch(door, await default_of(door), {"shadow": True})
        await eventually(is_shadow)
        fresh = await made(door)  # not yet heard of, and asked for all the same
        assert (await there.in_force(caller, UUID(fresh["id"]))).name == fresh["name"]
        there.close()


async def test_the_last_known_policy_stays_in_force_while_the_database_is_away(
    door: Door, tmp_path: Path, database_url: str
) -> None:
    async with opened(database_url, tmp_path / "other", clock=door.resources.clock) as other:
        there = Policies(other)
        caller = Caller(door.tenant, "acme", "key", "admin", frozenset(), str(UUID(int=1)))
        known = await there.in_force(caller)
        away = replace(other, database=replace(other.database, engine=_nowhere()))
        there._resources = away
        there._known.drop()
        assert await there.in_force(caller) == known
        stranger = replace(caller, tenant=TenantKey(UUID(int=2), 2))
        with pytest.raises(DatabaseAway):
            await there.in_force(stranger)
        there.close()


def _nowhere() -> AsyncEngine:
    return open_database("postgresql://nobody@127.0.0.1:1/none", single_role=False, pool_size=1).engine


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"channels": {"user": {"blok": 0.5}}}, "/channels/user/blok"),
        ({"fail_mod": "open"}, "/fail_mod"),
        ({"channels": {"user": {"block": 1.5}}}, "/channels/user/block"),
        ({"max_chars": 100_001}, "/max_chars"),
        ({"retention_days": 0}, "/retention_days"),
        ({"cache_seconds": -1}, "/cache_seconds"),
        ({"allowed_link_hosts": ["https://a.example"]}, "/allowed_link_hosts/0"),
        ({"rules_off": ["PI 1"]}, "/rules_off/0"),
        ({"output": {"pii": "shred"}}, "/output/pii"),
        ({"lists": ["x"]}, "/lists/0"),
        ({"name": " "}, "/name"),
    ],
)
async def test_a_bad_member_is_named(door: Door, members: dict[str, Any], pointer: str) -> None:
    answer = await door.post(POLICIES, {"name": "bad", **members})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_an_unknown_member_is_answered_with_the_nearest(door: Door) -> None:
    answer = await door.post(POLICIES, {"name": "bad", "fail_mod": "open"})
    assert answer.json()["errors"][0]["detail"] == "unknown member; did you mean fail_mode?"


@pytest.mark.parametrize(
    ("members", "pointer", "said"),
    [
        ({"channels": {"user": {"review": 0.6}}}, "/channels/user/review", "0.5"),
        ({"cascade": {"low": 0.9, "high": 0.1}}, "/cascade/low", "high"),
        ({"engine": {"kind": "remote", "name": "go"}}, "/engine/name", "settings"),
        ({"engine": {"name": "go"}}, "/engine/name", "no name"),
        ({"rule_packs": ["core", "acme@4"]}, "/rule_packs/1", "acme@4"),
        ({"rules_off": ["PI-OO1"]}, "/rules_off/0", "did you mean"),
        ({"lists": ["01990000-0000-7000-8000-000000000000"]}, "/lists/0", "no such list"),
        ({"calibration": "01990000-0000-7000-8000-000000000000"}, "/calibration", "no such calibration"),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_changes(
    door: Door, members: dict[str, Any], pointer: str, said: str
) -> None:
    answer = await door.post(POLICIES, {"name": "bad", **members})
    assert (answer.status_code, answer.json()["code"]) == (422, "detection_policy_invalid")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert said in error["detail"]
    policy = await made(door)
    assert (await patch(door, policy, members)).json()["code"] == "detection_policy_invalid"
    assert (await get(door, f"{POLICIES}/{policy['id']}")).json()["version"] == 1


async def test_names_are_unique_and_default_keeps_its_own(door: Door) -> None:
    policy = await made(door)
    again = await door.post(POLICIES, {"name": policy["name"]})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await patch(door, policy, {"name": "default"})).status_code == 409
    assert (await patch(door, await default_of(door), {"name": "other"})).status_code == 409


async def test_each_change_stands_in_the_audit_log(door: Door) -> None:
    policy = await made(door)
    await patch(door, policy, {"shadow": True})
    rows = await door.rows(
        "SELECT action, before::text AS before, after::text AS after FROM audit_log"
        " WHERE action LIKE 'policy.%' ORDER BY seq"
    )
    assert [row["action"] for row in rows] == ["policy.create", "policy.change"]
    assert ('"shadow": false' in rows[1]["before"], '"shadow": true' in rows[1]["after"]) == (True, True)


@pytest.mark.parametrize("policy", [7, "default", "x" * 40, {}])
async def test_a_policy_is_asked_for_by_id(door: Door, policy: Any) -> None:
    answer = await door.post(DETECT, {"text": "Hello", "policy": policy})
    assert (answer.status_code, answer.json()["code"]) == (422, "member_invalid")
