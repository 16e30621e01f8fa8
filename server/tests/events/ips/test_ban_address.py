"""Bans and releases from the view of addresses: one rule and one revision each, guarded, audited, seen by agents."""

from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import SetClock, rfc3339
from server.tests.events.ips.make import ATTACKER, attack, get, project_of, rate
from server.tests.ingest.make import Door


async def act(door: Door, verb: str, address: str = ATTACKER, **body: Any) -> httpx.Response:
    url = f"/api/v1/projects/{await project_of(door)}/ips/{address}:{verb}"
    return await door.client.post(url, json=body, headers={"x-api-key": door.key})


async def document(door: Door) -> dict[str, Any]:
    answer = await door.client.get("/api/v1/rules", headers={"x-api-key": door.key, "x-project-id": "shop"})
    found: dict[str, Any] = answer.json()
    return found


async def test_a_ban_reaches_agents_and_a_release_lifts_it(door: Door, clock: SetClock) -> None:
    await attack(door, 3)
    await rate(door)
    made = await act(door, "ban", duration_seconds=900, reason="scans")
    assert made.status_code == 201, made.text
    ban = made.json()
    assert (ban["net"], ban["state"], ban["source"], ban["reason"]) == (
        ATTACKER,
        "standing",
        "manual",
        "scans",
    )
    assert (await document(door))["ip_blacklist"] == [ATTACKER]
    assert [rule["id"] for rule in (await get(door, f"/ips/{ATTACKER}"))["rules"]] == [ban["id"]]
    clock.move(60)
    released = await act(door, "release", reason="a partner")
    assert released.status_code == 200, released.text
    assert [rule["id"] for rule in released.json()["lifted"]] == [ban["id"]]
    after = await document(door)
    assert (after["ip_blacklist"], after["ip_whitelist"]) == ([], [ATTACKER])
    rules = (await get(door, f"/ips/{ATTACKER}"))["rules"]
    assert [(rule["kind"], rule["state"]) for rule in rules] == [
        ("release_net", "standing"),
        ("ban_net", "over"),
    ]
    assert rules[1]["ended_at"] == rfc3339(clock.now())
    entries = await door.rows("SELECT reason FROM audit_log WHERE action = 'app_rules.publish' ORDER BY seq")
    assert [row["reason"] for row in entries] == ["scans", "a partner"]


async def test_a_second_ban_moves_the_end_of_the_first(door: Door, clock: SetClock) -> None:
    await attack(door)
    first = (await act(door, "ban", duration_seconds=900)).json()
    clock.move(300)
    second = (await act(door, "ban", duration_seconds=None, reason="for good")).json()
    assert (second["id"], second["expires_at"], second["reason"]) == (first["id"], None, "for good")
    assert (await document(door))["ip_blacklist"] == [ATTACKER]


async def test_an_ipv6_address_is_banned_with_its_64(door: Door) -> None:
    await attack(door)
    made = await act(door, "ban", "2001:db8:0:7::1234")
    assert (made.status_code, made.json()["net"]) == (201, "2001:db8:0:7::/64")
    released = (await act(door, "release", "2001:db8:0:7::9")).json()
    assert [rule["net"] for rule in released["lifted"]] == ["2001:db8:0:7::/64"]


async def test_a_release_without_a_ban_lifts_what_apps_decided_and_tells_of_wider_bans(door: Door) -> None:
    await attack(door)
    url = f"/api/v1/projects/{await project_of(door)}/rules"
    body = {"kind": "ban_net", "value": {"net": "203.0.113.0/24"}}
    wide = (await door.client.post(url, json=body, headers={"x-api-key": door.key})).json()
    released = (await act(door, "release")).json()
    assert (released["lifted"], [rule["id"] for rule in released["still"]]) == ([], [wide["id"]])
    assert (await document(door))["ip_whitelist"] == [ATTACKER]


@pytest.mark.parametrize(
    ("address", "body", "status", "code"),
    [
        ("ab12cd34ef56ab78", {}, 422, "no_network"),
        ("system", {}, 404, "not_found"),
        ("10.1.2.3", {}, 422, "app_rule_invalid"),
        ("10.1.2.3", {"force": True}, 422, "app_rule_invalid"),
        ("10.1.2.3", {"force": True, "reason": "our own scanner"}, 201, None),
        ("::1", {}, 422, "app_rule_invalid"),
        (ATTACKER, {"duration_seconds": 0}, 422, "validation_failed"),
        (ATTACKER, {"duration_seconds": "long"}, 422, "validation_failed"),
        (ATTACKER, {"for": 900}, 422, "validation_failed"),
        (ATTACKER, {"reason": ""}, 422, "validation_failed"),
    ],
)
async def test_what_a_ban_is_refused_for(
    door: Door, address: str, body: dict[str, Any], status: int, code: str | None
) -> None:
    await attack(door)
    answer = await act(door, "ban", address, **body)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert await door.count("rule_revisions") == (1 if status == 201 else 0)


async def test_a_ban_that_follows_our_release_is_an_echo(door: Door, clock: SetClock) -> None:
    await attack(door)
    await act(door, "ban")
    await act(door, "release")
    await attack(door, 5, event_type="ip_banned", reason="threshold", minutes_ago=1)
    await attack(door, 1, event_type="ip_banned", reason="threshold", ip_address="198.51.100.9")
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["events"] == {"penetration_attempt": 1}
    assert (await get(door, "/ips/198.51.100.9"))["events"] == {"ip_banned": 1}
    clock.move(700)
    await attack(door, 2, event_type="ip_banned", reason="threshold")
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["events"] == {"ip_banned": 2, "penetration_attempt": 1}
