"""Scoring steps on the real database: the same result however the work was cut, and every event exactly once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores import apply, claim
from guardhouse.scores.apply import CursorMoved, Engines
from guardhouse.scores.store import Backlog
from guardhouse.scores.write import DayMissing
from server.tests.components.hosts import EVERY_LANE, Host, attack, call, make_days, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.make import forget_scores, same, snapshot


async def backlog(resources: Resources) -> list[Backlog]:
    async with system_transaction(resources.database) as tx:
        return await claim.list_backlog(tx, EVERY_LANE)


async def step(resources: Resources, engines: Engines, work: Backlog) -> int:
    async with system_transaction(resources.database) as tx:
        return await apply.apply_step(tx, engines, work)


def engines() -> Engines:
    return Engines(RuleSet.builtin())


async def send_a_day(door: Door, clock: SetClock) -> None:
    """Two hosts: attacks between daily work, processes without a start, silence, late and lost events."""
    begin = clock.now() - timedelta(hours=9)
    for number, name in enumerate(("web-1", "web-2")):
        host = Host(door.client, door.key, id=name, members={"stream": "s", "boot_id": "b"})
        usual = ("read", "openat", "write")
        events = [call(usual[n % 3], begin + timedelta(seconds=n), pid=n % 9) for n in range(150)]
        events += attack(begin + timedelta(minutes=10 + number), first_pid=4000)
        events += [{"kind": "loss", "count": 40, "where": "kernel", "timestamp": begin.isoformat()}]
        events += [
            {"pid": 3, "kind": "exit", "code": 0, "timestamp": (begin + timedelta(minutes=12)).isoformat()}
        ]
        events += attack(begin + timedelta(hours=7), first_pid=5000)
        events += [call("setuid", begin + timedelta(hours=8, seconds=n), pid=n % 9) for n in range(60)]
        for n, event in enumerate(events):
            event["seq"] = n
        late = events[40:60]
        await host.accepted(events[:40] + events[60:])
        await host.accepted(late)


async def step_that_is_lost(resources: Resources, engines: Engines, work: Backlog) -> None:
    async with system_transaction(resources.database) as tx:
        await apply.apply_step(tx, engines, work)
        raise ZeroDivisionError


@pytest.fixture
def step_size(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(size: int) -> None:
        monkeypatch.setattr(apply, "STEP_EVENTS", size)

    return use


async def test_batch_sizes_do_not_change_a_byte(
    door: Door, resources: Resources, clock: SetClock, step_size: Any
) -> None:
    await send_a_day(door, clock)
    found = {}
    for size in (1000, 7, 1):
        step_size(size)
        await forget_scores(door)
        assert await score_everything(resources) >= 2
        found[size] = await snapshot(door)
    same(found[7], found[1000])
    same(found[1], found[1000])
    rows = found[1000]
    assert len(rows["notices"]) >= 4
    assert len(rows["risk_incidents"]) == 4
    assert {row[6] for row in rows["risk_incidents"]} == {"open", "closed"}
    assert len(rows["risk_incident_notices"]) >= 4
    assert len(rows["events_kept"]) > len(rows["risk_incident_notices"])
    assert {"high", "low"} <= {row[13] for row in rows["scores"]}
    assert await backlog(resources) == []


async def test_restarts_at_every_step_and_another_worker_in_turns_do_not_change_a_byte(
    door: Door, resources: Resources, clock: SetClock, step_size: Any
) -> None:
    await send_a_day(door, clock)
    await score_everything(resources)
    whole = await snapshot(door)
    step_size(23)
    await forget_scores(door)
    while waiting := await backlog(resources):
        for work in waiting:
            await step(resources, engines(), work)  # an engine read from the database for every step
    same(await snapshot(door), whole)
    await forget_scores(door)
    two = [engines(), engines()]
    turn = 0
    while waiting := await backlog(resources):
        for work in waiting:
            await step(resources, two[turn % 2], work)  # each one's memory is stale every second time
            turn += 1
    same(await snapshot(door), whole)


async def test_a_step_lost_before_its_commit_is_done_again_with_the_same_result(
    door: Door, resources: Resources, clock: SetClock, step_size: Any
) -> None:
    await send_a_day(door, clock)
    await score_everything(resources)
    whole = await snapshot(door)
    step_size(31)
    await forget_scores(door)
    held = engines()
    while waiting := await backlog(resources):
        for work in waiting:
            before = await snapshot(door)
            with pytest.raises(ZeroDivisionError):
                await step_that_is_lost(resources, held, work)
            same(await snapshot(door), before)
            held.forget(work.agent_no)
            await step(resources, held, work)
    same(await snapshot(door), whole)


async def test_two_workers_on_one_agent_at_once_score_everything_once(
    door: Door, resources: Resources, clock: SetClock, step_size: Any
) -> None:
    await send_a_day(door, clock)
    await score_everything(resources)
    whole = await snapshot(door)
    step_size(11)
    await forget_scores(door)
    lost = 0

    async def work_along() -> None:
        nonlocal lost
        held = engines()
        while waiting := await backlog(resources):
            for work in waiting:
                try:
                    await step(resources, held, work)
                except CursorMoved:
                    held.forget(work.agent_no)
                    lost += 1

    await asyncio.gather(work_along(), work_along(), work_along())
    assert lost > 0
    same(await snapshot(door), whole)


async def test_eviction_and_reload_equal_no_eviction(
    door: Door, resources: Resources, clock: SetClock, step_size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send_a_day(door, clock)
    await score_everything(resources)
    whole = await snapshot(door)
    step_size(13)
    monkeypatch.setattr(apply, "MAX_LIVE", 3)
    monkeypatch.setattr(apply, "MAX_ENGINES", 1)
    await forget_scores(door)
    await score_everything(resources)
    same(await snapshot(door), whole)


async def test_batches_of_intake_do_not_matter_either(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    host = Host(door.client, door.key, members={"stream": "s", "boot_id": "b"})
    events = attack(clock.now() - timedelta(hours=1), seq=0)
    for event in events:
        await host.accepted([event])
        await score_everything(resources)
    one_by_one = await snapshot(door)
    await forget_scores(door)
    await score_everything(resources)
    same(await snapshot(door), one_by_one)


async def test_a_copy_of_an_event_changes_nothing(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    events = attack(clock.now() - timedelta(hours=1), seq=0)
    await host.accepted(events)
    await score_everything(resources)
    before = await snapshot(door)
    assert (await host.send(events)).json()["duplicates"] == len(events)
    assert await score_everything(resources) == 0
    same(await snapshot(door), before)


async def test_events_beyond_retention_leave_a_hole_that_scoring_steps_over(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await host.accepted([call(at=clock.now() - timedelta(days=3), seq=n) for n in range(3)])
    day = (clock.now() - timedelta(days=3)).date()
    await door.behind.execute("SELECT guardhouse_drop_day('process_events', $1)", day)
    await score_everything(resources)
    await make_days(resources)
    await host.accepted([call(at=clock.now(), seq=10, pid=5)])
    await score_everything(resources)
    assert [tuple(row) for row in await door.rows("SELECT pid, first_position FROM processes")] == [(5, 4)]
    assert (await door.rows("SELECT position FROM score_cursors"))[0][0] == 4


async def test_a_day_of_scores_that_is_missing_is_told(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await host.accepted([call(at=clock.now(), seq=1)])
    await door.behind.execute("SELECT guardhouse_drop_day('scores', $1)", clock.now().date())
    (work,) = await backlog(resources)
    with pytest.raises(DayMissing) as missing:
        await step(resources, engines(), work)
    assert missing.value.day == clock.now().date()


@pytest.mark.parametrize("letter", ["x", "é", "\u2400", '"', "\x01", "😀"])
async def test_the_longest_texts_of_an_attack_still_fit_into_a_notice(
    door: Door, host: Host, resources: Resources, clock: SetClock, letter: str
) -> None:
    """A notice that is too large would hold the agent up for ever."""
    long = letter * (3000 // len(letter.encode()))
    events = attack(clock.now() - timedelta(hours=1), seq=0)
    for event in events:
        if "args" in event:
            event["args"] = {
                name: f"{value}/../{long}{value}" if name == "path" else value
                for name, value in event["args"].items()
            }
        if "exe" in event:
            event["exe"] = f"/{long}/..{event['exe']}"
    await host.accepted(events)
    assert await score_everything(resources) == 1
    assert len(await door.rows("SELECT 1 FROM processes")) > 5


async def test_the_database_of_one_agent_is_of_no_concern_to_another(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    await send_a_day(door, clock)
    first, second = await backlog(resources)
    assert first.agent_no != second.agent_no
    held = engines()
    await step(resources, held, second)
    alone = await door.rows(
        "SELECT key, state FROM process_states WHERE agent_no = $1 ORDER BY key", second.agent_no
    )
    await forget_scores(door)
    held = engines()
    await step(resources, held, first)
    await step(resources, held, second)
    both = await door.rows(
        "SELECT key, state FROM process_states WHERE agent_no = $1 ORDER BY key", second.agent_no
    )
    assert [tuple(row) for row in both] == [tuple(row) for row in alone]
