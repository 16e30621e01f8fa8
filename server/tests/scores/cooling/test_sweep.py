"""Cooling without events: exact, whoever does it and when, and never at the cost of what events say."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import Host, attack, call, cool_everything, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.make import forget_scores, same, snapshot

HOURS = 3


async def attacked(host: Host, resources: Resources, at: datetime) -> None:
    await host.accepted(attack(at, seq=0))
    await score_everything(resources)


async def incidents(door: Door) -> list[tuple[Any, ...]]:
    sql = "SELECT status, band, closed_by, closed_at FROM risk_incidents ORDER BY opened_at"
    return [tuple(row) for row in await door.rows(sql)]


async def test_a_silent_agent_cools_and_its_incident_closes_once(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(minutes=1))
    assert await cool_everything(resources) == 0
    assert [row[:3] for row in await incidents(door)] == [("open", "high", None)]
    clock.move(HOURS * 3600)
    assert await cool_everything(resources) >= 1
    assert await cool_everything(resources) == 0
    ((status, band, closed_by, closed_at),) = await incidents(door)
    assert (status, band, closed_by) == ("closed", "low", "quiet")
    assert closed_at < clock.now()
    told = await door.rows("SELECT data->>'closed_by' AS by FROM notices WHERE kind = 'risk.incident_closed'")
    assert [row["by"] for row in told] == ["quiet"]
    shown = await door.client.get("/api/v1/processes", headers={"x-api-key": door.key})
    assert {row["tree_band"] for row in shown.json()["data"]} == {"low"}
    for row in shown.json()["data"]:
        detail = await door.client.get(f"/api/v1/processes/{row['id']}", headers={"x-api-key": door.key})
        assert (detail.json()["band"], detail.json()["explanation"]["band"]) == (row["band"], row["band"])


@pytest.mark.parametrize("pauses", [[HOURS * 3600], [1800, 1800, 600, 600, 600, 600, 600, 600, 4200]])
async def test_sweeps_between_events_change_nothing_of_what_events_give(
    door: Door, host: Host, resources: Resources, clock: SetClock, pauses: list[int]
) -> None:
    begin = clock.now()
    await attacked(host, resources, begin - timedelta(minutes=1))
    swept = 0
    for pause in pauses:
        clock.move(pause)
        swept += await cool_everything(resources)
    assert swept >= 1
    during = await snapshot(door)
    await host.accepted([call("read", clock.now(), seq=1000, pid=4000, start=10)])
    await score_everything(resources)
    with_sweeps = await snapshot(door)
    await forget_scores(door)
    await score_everything(resources)
    never_swept = await snapshot(door)
    same(with_sweeps, never_swept)
    assert during["risk_incidents"] == never_swept["risk_incidents"]


async def test_the_end_does_not_depend_on_when_the_sweep_ran(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(minutes=1))
    clock.move(HOURS * 3600)
    await cool_everything(resources)
    early = await snapshot(door)
    await forget_scores(door)
    await score_everything(resources)
    clock.move(5 * 3600)
    await asyncio.gather(cool_everything(resources), cool_everything(resources))
    late = await snapshot(door)
    for table in ("scores", "risk_incidents", "risk_incident_notices", "notices", "process_states"):
        assert early[table] == late[table], table


async def test_an_agent_that_was_cut_off_is_judged_as_if_there_had_been_no_sweep(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    """Its spool holds what went on meanwhile; the incident that was closed stays closed, another one opens."""
    begin = clock.now() - timedelta(minutes=1)
    await attacked(host, resources, begin)
    clock.move(HOURS * 3600)
    await cool_everything(resources)
    assert [row[0] for row in await incidents(door)] == ["closed"]
    cron = {"path": "/etc/cron.d/x", "flags": ["O_WRONLY"]}
    spooled = call("openat", begin + timedelta(minutes=10), seq=900, pid=4001, start=20, args=cron, ret=3)
    await host.accepted([spooled])
    await score_everything(resources)
    assert [row[:2] for row in await incidents(door)] == [("closed", "low"), ("open", "high")]
    states = (await snapshot(door))["process_states"]
    await forget_scores(door)
    await score_everything(resources)
    assert (await snapshot(door))["process_states"] == states


async def test_events_that_wait_come_before_cooling(
    host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(minutes=1))
    clock.move(HOURS * 3600)
    await host.accepted([call("read", clock.now(), seq=900)])
    assert await cool_everything(resources) == 0


async def test_time_of_an_agent_runs_on_from_its_own_clock(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    """A log of last week is not over because it is last week's."""
    await attacked(host, resources, clock.now() - timedelta(days=6))
    clock.move(60)
    assert await cool_everything(resources) == 0
    clock.move(HOURS * 3600)
    assert await cool_everything(resources) == 1
    ((_, _, _, closed_at),) = await incidents(door)
    assert closed_at < clock.now() - timedelta(days=5)
