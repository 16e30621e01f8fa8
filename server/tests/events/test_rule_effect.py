"""What rules would have hit among the events of the last hours."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.events.rule_effect import RuleEffect, find_effect
from guardhouse.foundation.transaction import system_transaction
from server.tests.events.ips.make import ATTACKER, attack
from server.tests.ingest.make import Door

NEIGHBOUR = "203.0.113.200"


async def effect(door: Door, *rules: tuple[str, dict[str, Any]], hours: int = 24) -> RuleEffect:
    made = [AppRule(UUID(int=number), kind, value) for number, (kind, value) in enumerate(rules)]
    (row,) = await door.rows("SELECT project_no FROM projects WHERE slug = 'shop'")
    async with system_transaction(door.resources.database) as tx:
        since = door.now - timedelta(hours=hours)
        return await find_effect(tx, (door.tenant.no, row["project_no"]), made, since)


async def fill(door: Door) -> None:
    await attack(door, 3, endpoint="/items/1", country="NL", user_agent="sqlmap/1.7")
    await attack(
        door, 1, endpoint="/items/2", event_type="rate_limited", country="NL", user_agent="sqlmap/1.8"
    )
    await attack(door, 2, ip_address=NEIGHBOUR, event_type="rate_limited", country="DE", user_agent="Firefox")
    await attack(door, 1, ip_address="2001:db8::5", event_type="access_denied", endpoint="/admin")
    await attack(door, 5, ip_address="ab12cd34ef56ab78", event_type="access_denied", endpoint="/admin")
    await attack(door, 7, minutes_ago=60 * 30)


@pytest.mark.parametrize(
    ("kind", "value", "events", "attackers", "harmless"),
    [
        ("ban_net", {"net": ATTACKER}, 4, 1, 0),
        ("ban_net", {"net": "203.0.113.0/24"}, 6, 1, 1),
        ("ban_net", {"net": "2001:db8::/64"}, 1, 0, 1),
        ("ban_net", {"net": "192.0.2.0/24"}, 0, 0, 0),
        ("block_country", {"country": "NL"}, 4, 1, 0),
        ("allow_countries", {"countries": ["DE"]}, 4, 1, 0),
        ("block_user_agent", {"pattern": "^SQLMAP/"}, 4, 1, 0),
        ("emergency", {"whitelist": [NEIGHBOUR], "whitelist_only": True, "message": None}, 10, 1, 2),
    ],
)
async def test_what_one_rule_would_have_hit(
    door: Door, kind: str, value: dict[str, Any], events: int, attackers: int, harmless: int
) -> None:
    await fill(door)
    found = await effect(door, (kind, value))
    assert (found.events, found.attackers, found.harmless) == (events, attackers, harmless)
    assert (found.whole, found.unmeasured) == (True, ())
    assert sum(address.events for address in found.addresses) == events


async def test_by_class_endpoint_and_address(door: Door) -> None:
    await fill(door)
    found = await effect(door, ("ban_net", {"net": "203.0.113.0/24"}), ("block_country", {"country": "NL"}))
    assert dict(found.by_class) == {"attack": 3, "policy": 3}
    assert found.by_endpoint == [("/items/{n}", 4), ("other", 2)]
    assert [(each.address, each.events, each.attacks) for each in found.addresses] == [
        (ATTACKER, 4, 3),
        (NEIGHBOUR, 2, 0),
    ]


async def test_more_hours_show_more(door: Door) -> None:
    await fill(door)
    assert (await effect(door, ("ban_net", {"net": ATTACKER}), hours=48)).events == 11


async def test_of_some_rules_events_say_nothing(door: Door) -> None:
    await fill(door)
    found = await effect(
        door, ("limit_global", {"requests": 1, "window_s": 1}), ("toggle", {"name": "x", "set": True})
    )
    assert (found.events, found.unmeasured) == (0, ("limit_global", "toggle"))


@pytest.mark.parametrize(("hours", "events"), [(None, 4), (48, 11), (0, None), (169, None)])
async def test_a_preview_shows_the_effect(door: Door, hours: int | None, events: int | None) -> None:
    await fill(door)
    (row,) = await door.rows("SELECT project_id FROM projects WHERE slug = 'shop'")
    answer = await door.client.post(
        f"/api/v1/projects/{row['project_id']}/rules:preview",
        json={"operations": [{"op": "add", "rule": {"kind": "ban_net", "value": {"net": ATTACKER}}}]}
        | ({} if hours is None else {"hours": hours}),
        headers={"x-api-key": door.key},
    )
    if events is None:
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        return
    assert answer.status_code == 200, answer.text
    found = answer.json()["effect"]
    assert (found["events"], found["attackers"], found["harmless"]) == (events, 1, 0)
    assert found["addresses"][0]["address"] == ATTACKER
    assert await door.count("rule_revisions") == 0
