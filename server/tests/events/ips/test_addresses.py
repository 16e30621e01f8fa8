"""Addresses: counted once, scored as published, listed by score, each with its reasons; nothing of other tenants."""

import asyncio
from typing import Any

import pytest

from guardhouse.events.ips import jobs
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from server.tests.components import hosts
from server.tests.components.postgres import Clone
from server.tests.events.ips.make import ATTACKER, attack, get, project_of, rate
from server.tests.ingest.make import Door, batch, counts, open_door

MIXED = (("penetration_attempt", 15), ("pattern_detected", 15), ("ip_banned", 1))


async def test_a_score_with_its_reasons(door: Door) -> None:
    for event_type, count in MIXED:
        await attack(
            door, count, event_type=event_type, endpoint="/login", user_agent="sqlmap/1.7", country="NL"
        )
    await rate(door)
    shown = await get(door, f"/ips/{ATTACKER}")
    assert (shown["score"], shown["band"], shown["activity"]) == (789, "high", 30000)
    assert shown["events"] == dict(MIXED)
    assert shown["network"] == f"{ATTACKER}/32"
    assert {part["event_type"]: part["points"] for part in shown["contributions"]} == {
        "penetration_attempt": 16000,
        "pattern_detected": 12000,
        "ip_banned": 2000,
    }
    assert sum(part["points"] for part in shown["contributions"]) == shown["activity"]
    assert shown["facts"] | {"agents": []} == {
        "events": 31,
        "whole": True,
        "endpoints": [{"value": "/login", "count": 31}],
        "user_agents": [{"value": "sqlmap/1.7", "count": 31}],
        "countries": [{"value": "NL", "count": 31}],
        "agents": [],
    }
    for part in shown["contributions"]:
        assert len(part["event_ids"]) == min(3, part["count"])
        event = await door.client.get(
            f"/api/v1/events/{part['event_ids'][0]}", headers={"x-api-key": door.key}
        )
        assert (event.json()["event_type"], event.json()["ip_address"]) == (part["event_type"], ATTACKER)


async def test_a_replay_counts_nothing_twice_in_any_batching(door: Door) -> None:
    events = [door.event(idempotency_key=f"k{n}", ip_address=ATTACKER) for n in range(15)]
    parts = [events[:9], events[5:], events, events[::-1]]
    for number, part in enumerate(parts):
        await door.events(batch(part, batch_id=f"b-{number}"), x_project_id="shop")
        await rate(door)
    shown = await get(door, f"/ips/{ATTACKER}")
    assert (shown["score"], shown["events"]) == (666, {"penetration_attempt": 15})


async def test_one_batch_at_two_doors_at_once_is_counted_once(door: Door) -> None:
    body = batch([door.event(idempotency_key=f"k{n}", ip_address=ATTACKER) for n in range(3)])
    answers = await asyncio.gather(*(door.events(body, x_project_id="shop") for _ in range(4)))
    assert sum(counts(answer)[0] for answer in answers) == 3
    await asyncio.gather(*(rate(door) for _ in range(3)))
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["score"] == 500


async def test_crossings_are_told_once_and_a_band_is_left_fifty_points_below(
    door: Door, clock: SetClock
) -> None:
    await attack(door, 15)
    for _ in range(2):
        await rate(door)
    told = await door.rows("SELECT data->>'before' AS b, data->>'band' AS a, (data->>'score')::int AS s, severity"
                           " FROM notices WHERE kind = 'ip.score_crossed' ORDER BY id")  # fmt: skip
    assert [tuple(row) for row in told] == [("none", "high", 666, "high")]
    for _ in range(30):  # ten minutes at a time, as the workers do
        clock.move(600)
        await rate(door)
    told = await door.rows("SELECT data->>'before' AS b, data->>'band' AS a, (data->>'score')::int AS s, severity"
                           " FROM notices WHERE kind = 'ip.score_crossed' ORDER BY id OFFSET 1")  # fmt: skip
    assert [tuple(row)[:2] for row in told] == [("high", "medium"), ("medium", "none")]
    assert told[0]["s"] < 550
    assert told[1]["s"] < 250
    assert {row["severity"] for row in told} == {"info"}
    assert await door.rows("SELECT FROM ip_scores WHERE due_at IS NOT NULL") == []


async def test_ipv6_is_scored_by_its_64(door: Door) -> None:
    for last in (":1", "2:3:4:5", ":ffff"):
        await attack(door, ip_address=f"2001:db8:0:7:{last}")
    await attack(door, ip_address="2001:db8:0:8::1")
    await rate(door)
    shown = await get(door, "/ips/2001:db8:0:7:aaaa::9")
    assert (shown["address"], shown["network"], shown["score"]) == (
        "2001:db8:0:7::",
        "2001:db8:0:7::/64",
        500,
    )
    assert shown["facts"]["events"] == 3


async def test_a_hashed_address_has_a_score_and_no_network(door: Door) -> None:
    await attack(door, 3, ip_address="ab12cd34ef56ab78", endpoint="/x")
    await attack(door, 9, ip_address="system")
    await attack(door, 9, ip_address="")
    await rate(door)
    shown = await get(door, "/ips/ab12cd34ef56ab78")
    assert (shown["score"], shown["network"]) == (500, None)
    assert shown["facts"]["endpoints"] == [{"value": "/x", "count": 3}]
    assert [row["address"] for row in (await get(door, "/ips"))["data"]] == ["ab12cd34ef56ab78"]


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "ip_banned", "reason": "dynamic_rule"},
        {"event_type": "ip_blocked", "metadata": {"filter_type": "banned"}},
        {"event_type": "dynamic_rule_violation"},
        {"event_type": "suspicious_request"},
        {"event_type": "emergency_mode_block"},
        {"event_type": "security_headers_applied"},
    ],
    ids=lambda fields: str(fields["event_type"]),
)
async def test_what_our_own_rules_cause_and_noise_count_for_nothing(
    door: Door, fields: dict[str, Any]
) -> None:
    await attack(door, 5, **fields)
    await rate(door)
    assert (await get(door, "/ips"))["data"] == []
    await attack(door, event_type="ip_blocked", metadata={"filter_type": "global"})
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["events"] == {"ip_blocked": 1}


async def test_pages_by_falling_score(door: Door) -> None:
    for number in range(1, 8):
        await attack(door, number, ip_address=f"198.51.100.{number}")
    await rate(door)
    whole = (await get(door, "/ips"))["data"]
    assert [row["address"] for row in whole] == [f"198.51.100.{number}" for number in range(7, 0, -1)]
    assert [row["score"] for row in whole] == sorted((row["score"] for row in whole), reverse=True)
    paged: list[Any] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = await get(door, "/ips", **query)
        paged += page["data"]
        if not page["pagination"]["has_more"]:
            break
        query["cursor"] = page["pagination"]["cursor"]
    assert paged == whole
    least = whole[3]["score"]
    assert (await get(door, "/ips", min_score=least))["data"] == whole[:4]
    assert (await get(door, "/ips", min_score=least + 1))["data"] == whole[:3]


async def test_the_score_shown_is_that_of_now(door: Door, clock: SetClock) -> None:
    await attack(door, 15)
    await rate(door)
    clock.move(3600)
    assert [row["score"] for row in (await get(door, "/ips"))["data"]] == [500]
    clock.move(86_400)
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["score"] == 0
    assert (await get(door, "/ips", min_score=1))["data"] == []


async def test_the_other_projects_that_saw_it(door: Door) -> None:
    await attack(door, 3)
    await door.events(batch([door.event(ip_address=ATTACKER)], batch_id="x"), x_project_id="blog")
    await rate(door)
    shown = await get(door, f"/ips/{ATTACKER}")
    assert [(row["project"], row["score"]) for row in shown["elsewhere"]] == [("blog", 333)]


async def test_another_tenant_sees_nothing(door: Door, database: Clone) -> None:
    await attack(door, 3)
    await rate(door)
    shop = await project_of(door)
    async with open_door(door.resources, database.superuser_url, slug="other") as other:
        for path in (f"/ips/{ATTACKER}", "/ips"):
            answer = await other.client.get(
                f"/api/v1/projects/{shop}{path}", headers={"x-api-key": other.key}
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        await attack(other, 1)
        await rate(other)
        rows = await other.rows(
            "SELECT project_id FROM projects p WHERE tenant_id = $1 AND slug = 'shop'", other.tenant.id
        )
        answer = await other.client.get(
            f"/api/v1/projects/{rows[0]['project_id']}/ips/{ATTACKER}", headers={"x-api-key": other.key}
        )
        assert (answer.json()["score"], answer.json()["elsewhere"]) == (333, [])


@pytest.mark.parametrize("text", ["1.2.3", "10.0.0.9", "system", "%20", "::g", "a" * 64, "a%01b", "'--"])
async def test_an_address_that_nobody_knows(door: Door, text: str) -> None:
    await attack(door)
    url = f"/api/v1/projects/{await project_of(door)}/ips/{text}"
    answer = await door.client.get(url, headers={"x-api-key": door.key})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_old_and_future_events(door: Door) -> None:
    await attack(door, 3, minutes_ago=60 * 24 * 9)  # beyond what is kept of addresses
    await attack(door, 3, minutes_ago=60 * 24 * 7, ip_address="198.51.100.2")
    await attack(door, 3, minutes_ago=-4, ip_address="198.51.100.3")  # an app's clock may be ahead
    await rate(door)
    assert {row["address"]: row["score"] for row in (await get(door, "/ips"))["data"]} == {
        "198.51.100.3": 500
    }
    assert await door.count("ip_buckets") == 2


async def test_a_missing_day_is_made(door: Door) -> None:
    await attack(door, 3)
    (day,) = await door.rows(
        "SELECT 'ip_buckets_p' || to_char($1::date, 'YYYYMMDD') AS name", door.now.date()
    )
    await door.behind.execute(f"DROP TABLE {day['name']}")
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["score"] == 500


async def test_alerts_of_an_app_are_told_with_its_batch(door: Door) -> None:
    events = [
        door.event(event_type=event_type, idempotency_key=f"{event_type}{n}")
        for event_type, count in (("security_bypass", 7), ("emergency_mode_activated", 1), ("ip_banned", 1))
        for n in range(count)
    ]
    for batch_id in ("one", "two"):
        await door.events(batch(events, batch_id=batch_id), x_agent_install_id="web-1", x_project_id="shop")
    told = await door.rows(
        "SELECT data->>'event_type' AS t, (data->>'count')::int AS n, jsonb_array_length(data->'event_ids') AS ids,"
        " subject FROM notices WHERE kind = 'agent.alert' ORDER BY id"
    )
    assert [tuple(row) for row in told] == [
        ("security_bypass", 7, 5, "agent:web-1"),
        ("emergency_mode_activated", 1, 1, "agent:web-1"),
    ]


async def test_a_crash_between_intake_and_score_loses_nothing(door: Door) -> None:
    await attack(door, 3)
    await door.behind.execute("ALTER TABLE ip_scores RENAME TO away")
    try:
        with pytest.raises(Exception, match="ip_scores"):
            await jobs.rate_once(door.resources)
    finally:
        await door.behind.execute("ALTER TABLE away RENAME TO ip_scores")
    await rate(door)
    assert (await get(door, f"/ips/{ATTACKER}"))["score"] == 500


async def test_addresses_not_seen_for_a_month_are_forgotten(door: Door, clock: SetClock) -> None:
    await attack(door)
    clock.move(86_400 * 20)
    await hosts.make_days(door.resources)
    await attack(door, ip_address="198.51.100.9")
    await rate(door)
    clock.move(86_400 * 12)
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, clock.now(), "")
    await jobs.forget_addresses.run(JobContext(door.resources, claimed))
    assert [row["address"] for row in await door.rows("SELECT address FROM ip_scores")] == ["198.51.100.9"]
