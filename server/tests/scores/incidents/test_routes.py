"""Incidents over HTTP: lists, the story, a person who closes."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.incidents import store
from guardhouse.scores.incidents.store import Line
from server.tests.components.hosts import Host, attack, call, cool_everything, make_days, score_everything
from server.tests.ingest.make import Door

INCIDENTS = "/api/v1/risk/incidents"


async def get(door: Door, path: str = INCIDENTS, **query: Any) -> httpx.Response:
    return await door.client.get(path, params=query, headers={"x-api-key": door.key})


async def listed(door: Door, **query: Any) -> list[dict[str, Any]]:
    answer = await get(door, **query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def close(door: Door, incident_id: str, key: str | None = None, **body: Any) -> httpx.Response:
    return await door.post(f"{INCIDENTS}/{incident_id}/close", body, idempotency_key=key)


async def attacked(host: Host, resources: Resources, at: datetime, **more: Any) -> None:
    await host.accepted(attack(at, seq=host.sent * 1000, **more))
    await score_everything(resources)


async def test_an_incident_says_where_how_bad_and_why(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(minutes=1))
    (row,) = await listed(door)
    assert (row["status"], row["band"], row["peak_band"], row["agent_id"]) == (
        "open",
        "high",
        "high",
        "web-1",
    )
    assert row["title"].startswith("High risk, python3 on web-1: ")
    assert "T1059.004" in row["techniques"]
    assert row["peak_risk"] >= row["risk"] > 70
    assert row["tree_id"] == "web-1:4000:a"
    assert (await get(door, row["links"]["tree"])).status_code == 200
    story = (await get(door, f"{INCIDENTS}/{row['id']}")).json()
    assert sum(round(part["points"] * 100) for part in story["contributions"]) == round(
        row["peak_risk"] * 100
    )
    for line in story["told"]:
        assert sum(round(part["points"] * 100) for part in line["contributions"]) == round(line["risk"] * 100)
    assert [scene["at"] for scene in story["story"]] == sorted(scene["at"] for scene in story["story"])
    kinds = {scene["what"] for scene in story["story"]}
    assert kinds == {"event", "process_started", "process_ended", "notice"}
    notices = await door.rows("SELECT notice_id FROM notices WHERE kind = 'risk.band_crossed' ORDER BY id")
    assert [line["id"] for line in story["told"]] == [str(found["notice_id"]) for found in notices]
    shadow = [scene for scene in story["story"] if scene["text"] == "openat /etc/shadow"]
    assert [scene["evidence"] for scene in shadow] == [["rule.credential_read"]]
    assert len(story["processes"]) == 10


async def test_filters_and_pages(door: Door, host: Host, resources: Resources, clock: SetClock) -> None:
    begin = clock.now() - timedelta(hours=5)
    other = Host(door.client, door.key, id="web-2")
    await attacked(host, resources, begin)
    await attacked(other, resources, begin + timedelta(hours=1))
    await attacked(host, resources, begin + timedelta(hours=4), first_pid=6000)
    rows = await listed(door)
    assert [row["agent_id"] for row in rows] == ["web-1", "web-2", "web-1"]
    assert [row["status"] for row in rows] == ["open", "open", "closed"]
    assert await listed(door, status="closed") == rows[2:]
    assert await listed(door, band="medium") == []
    assert await listed(door, band="high", agent_id="web-2") == rows[1:2]
    since = (begin + timedelta(minutes=30)).isoformat()
    assert await listed(door, since=since, until=(begin + timedelta(hours=3)).isoformat()) == rows[1:2]
    for process in ("web-1:6001", "web-1:6001:k", "web-1:6000:a"):
        assert await listed(door, process=process) == rows[:1]
    assert await listed(door, process="web-1:1") == []
    assert await listed(door, process="nonsense") == []
    pages = []
    cursor: dict[str, str] = {}
    while True:
        page = (await get(door, limit=1, **cursor)).json()
        pages += page["data"]
        if not page["pagination"]["has_more"]:
            break
        cursor = {"cursor": page["pagination"]["cursor"]}
    assert pages == rows


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"band": "worst"}, 422),
        ({"status": "x"}, 422),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
        ({"cursor": "c1.x.y"}, 400),
        ({"limit": 0}, 422),
    ],
)
async def test_wrong_filters_are_refused(door: Door, query: dict[str, Any], status: int) -> None:
    assert (await get(door, **query)).status_code == status


async def test_an_unknown_incident(door: Door) -> None:
    assert (await get(door, f"{INCIDENTS}/{uuid4()}")).status_code == 404
    assert (await close(door, str(uuid4()))).status_code == 404


async def test_a_person_closes_once_and_later_news_is_another_incident(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(minutes=30)
    await attacked(host, resources, begin)
    (row,) = await listed(door)
    first = await close(door, row["id"], key="once", reason="a drill")
    assert first.status_code == 200, first.text
    again = await close(door, row["id"], key="once", reason="a drill")
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert (await close(door, row["id"], reason="another")).json()["close_reason"] == "a drill"
    shown = first.json()
    assert (shown["status"], shown["close_reason"]) == ("closed", "a drill")
    assert shown["closed_by"].startswith("key:")
    assert shown["story"][-1]["what"] == "closed"
    told = await door.rows("SELECT data FROM notices WHERE kind = 'risk.incident_closed'")
    assert len(told) == 1
    audited = await door.rows("SELECT target, reason FROM audit_log WHERE action = 'incident.close'")
    assert [tuple(line) for line in audited] == [(f"incident:{row['id']}", "a drill")]
    await host.accepted([call("read", begin + timedelta(minutes=1), seq=5000, pid=4001, start=20)])
    await score_everything(resources)
    assert len(await listed(door)) == 1
    cron = {"path": "/etc/cron.d/x", "flags": ["O_WRONLY"]}
    news = call("openat", begin + timedelta(minutes=2), seq=5001, pid=4001, start=20, args=cron, ret=3)
    await host.accepted([news])
    await score_everything(resources)
    assert [found["status"] for found in await listed(door)] == ["open", "closed"]
    clock.move(4 * 3600)
    await cool_everything(resources)
    assert [found["closed_by"] == "quiet" for found in await listed(door)] == [True, False]


async def test_two_that_close_at_once_with_a_step_between_them_say_it_once(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=3))
    (row,) = await listed(door)
    await host.accepted([call("read", clock.now(), seq=5000, pid=4001, start=20)])  # its step closes it too
    answers = await asyncio.gather(
        close(door, row["id"]), score_everything(resources), close(door, row["id"])
    )
    assert [answer.status_code for answer in answers if isinstance(answer, httpx.Response)] == [200, 200]
    numbers = await door.rows(
        "SELECT subject_seq FROM notices WHERE subject LIKE 'incident:%' ORDER BY txid, id"
    )
    assert [found[0] for found in numbers] == list(range(1, len(numbers) + 1))
    assert len(await door.rows("SELECT 1 FROM notices WHERE kind = 'risk.incident_closed'")) == 1


async def test_two_that_tell_the_same_at_once_tell_it_once(resources: Resources, door: Door) -> None:
    """The unique index decides, whatever anybody remembers."""
    line = Line((uuid4(), "high", "rule.a"), uuid4(), 1, door.now, 1, "p", "low", 7100, [])

    async def tell() -> int:
        async with system_transaction(resources.database) as tx:
            return len(await store.add_lines(tx, door.tenant.no, [line]))

    assert sorted(await asyncio.gather(*(tell() for _ in range(5)))) == [0, 0, 0, 0, 1]


async def test_cited_events_outlive_their_day(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(days=3)
    await attacked(host, resources, begin)
    (row,) = await listed(door)
    story = (await get(door, f"{INCIDENTS}/{row['id']}")).json()
    cited = {event for part in story["contributions"] for event in part["events"]}
    before = {event: (await get(door, f"/api/v1/events/{event}")).json() for event in cited}
    await door.behind.execute("SELECT guardhouse_drop_day('process_events', $1)", begin.date())
    assert await door.count("process_events") == 0
    for event, shown in before.items():
        assert (await get(door, f"/api/v1/events/{event}")).json() == shown
    assert (await get(door, f"{INCIDENTS}/{row['id']}")).json() == story
    await make_days(resources)
