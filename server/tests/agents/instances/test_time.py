"""What time does to processes: silence is told once, recovery too, those long gone are archived; clocks may jump."""

from datetime import timedelta
from uuid import uuid4

from guardhouse.agents.instances import jobs
from guardhouse.agents.instances.fold import hear
from guardhouse.agents.instances.state import AHEAD
from guardhouse.agents.instances.store import Instance
from guardhouse.foundation.clock import SetClock
from guardhouse.worker.registry import SCHEDULES
from server.tests.agents.instances.say import ledger, status
from server.tests.agents.instances.seen import G3, GH, INSTALL, get, news, run, shown, tell
from server.tests.components.door_at_noon import clock, door, resources
from server.tests.ingest.make import Door, batch, counts

__all__ = ["clock", "door", "resources"]


async def states(door: Door) -> list[str]:
    return [one["state"] for one in await shown(door)]


def test_the_worker_runs_the_jobs() -> None:
    assert {jobs.fold_contacts, jobs.watch_instances} <= set(SCHEDULES)


async def test_a_silence_is_told_once_and_its_end_once(door: Door, clock: SetClock) -> None:
    started = door.now
    said = {"user_agent": G3, "x_agent_install_id": INSTALL}

    async def report(health: str = "healthy") -> None:
        uptime = (door.now - started).total_seconds()
        await tell(door, status(door.now, uptime=uptime, status=health), **said)

    for _ in range(4):
        clock.move(60)
        await report()
    assert (await shown(door))[0]["interval_seconds"] == 60
    clock.move(119)
    await run(door)
    assert (await states(door), await news(door)) == (["healthy"], [])
    clock.move(1)
    await run(door)
    assert (await states(door), await news(door)) == (["late"], [])
    clock.move(120)
    assert await states(door) == ["silent"]  # before any job has looked
    await run(door)
    await run(door)
    about = {"agent_id": INSTALL, "instance_id": (await shown(door))[0]["id"]}
    assert (await states(door), await news(door)) == (["silent"], [("agent.silent", about)])
    counts(await door.events(batch([door.event()]), **said))  # a batch is a sign of life as well
    await run(door, jobs.fold_contacts)
    assert (await states(door), await news(door)) == (
        ["healthy"],
        [("agent.recovered", about | {"was": "silent"})],
    )
    for health, told in (
        ("degraded", [("agent.degraded", about | {"reported": "degraded"})]),
        ("failed", []),
        ("healthy", [("agent.recovered", about | {"was": "degraded"})]),
    ):
        clock.move(60)
        await report(health)
        assert await news(door) == told


async def test_a_process_that_a_younger_one_replaced_is_silent_without_news(
    door: Door, clock: SetClock
) -> None:
    for number in range(2):
        await tell(door, status(door.now, uptime=1 + number), user_agent=G3, x_agent_install_id=INSTALL)
        clock.move(1500)
        if number == 0:
            clock.move(-1490)
    await tell(door, status(door.now, uptime=2 + 1500), user_agent=G3, x_agent_install_id=INSTALL)
    await run(door)
    assert (await states(door), await news(door)) == (["healthy", "silent"], [])


async def test_goodbye_heirs_and_silence_with_something_left(door: Door, clock: SetClock) -> None:
    gone, dead, heir, cut = (str(uuid4()) for _ in range(4))
    for me in (gone, dead, heir, cut):
        body = status(door.now, guardhouse={"seq": 1, "ledger": ledger(captured=2, pending={"spool": 2})})
        await tell(door, body, user_agent=GH, x_guardhouse_instance=me)
    await tell(door, status(door.now, guardhouse={"ended": True}), x_guardhouse_instance=gone)
    clock.move(1500)
    left = batch([door.event(), door.event(ip_address="192.0.2.9")], instance_id=dead, seq=2,
        ledger=ledger(captured=2, pending={"in_flight": 2}))  # fmt: skip
    counts(await door.events(left, user_agent=GH, x_guardhouse_instance=heir))
    by_id = {one["id"]: one for one in await shown(door)}
    assert {me: by_id[me]["state"] for me in by_id} == {
        gone: "ended",
        dead: "unclean",
        heir: "healthy",
        cut: "unclean",
    }
    assert (by_id[dead]["heir_id"], by_id[dead]["last_seen"] < by_id[heir]["last_seen"]) == (heir, True)
    closed = {"instance_id": dead, "ended": True, "seq": 3, "ledger": ledger(captured=2, delivered=2)}
    await tell(
        door,
        status(door.now, guardhouse=closed),
        user_agent=GH,
        x_guardhouse_instance=dead,
        x_guardhouse_heir=heir,
    )
    detail = await get(door, f"/instances/{dead}")
    assert (detail["state"], detail["ledger"]["events"]["unaccounted"]) == ("unclean", 0)
    assert (detail["events"]["stored"], detail["generation"]) == (2, "GH")
    assert (await get(door, f"/instances/{heir}"))["events"]["stored"] == 0
    await run(door)
    assert [(kind, data["instance_id"]) for kind, data in await news(door)] == [("agent.silent", cut)]
    counts(await door.events(batch([door.event()], batch_id="b-2"), x_guardhouse_instance=gone))
    assert (await get(door, f"/instances/{gone}"))["state"] == "healthy"  # it was not over after all


async def test_what_is_not_heard_for_thirty_days_is_archived_and_comes_back(
    door: Door, clock: SetClock
) -> None:
    me = str(uuid4())
    await tell(door, status(door.now), x_guardhouse_instance=me)
    clock.move(29 * 86_400)
    await run(door)
    assert len(await shown(door)) == 1
    clock.move(86_401)
    await run(door)
    assert (await shown(door), [one["id"] for one in await shown(door, query="archived=true")]) == ([], [me])
    await tell(door, status(door.now), x_guardhouse_instance=me)
    assert ([one["state"] for one in await shown(door)], await shown(door, query="archived=true")) == (
        ["healthy"],
        [],
    )


async def test_our_own_clock_may_jump_a_year_and_back(door: Door, clock: SetClock) -> None:
    me = str(uuid4())
    await tell(door, status(door.now), x_guardhouse_instance=me)
    clock.move(365 * 86_400)
    await tell(door, status(door.now), x_guardhouse_instance=me)
    clock.move(-365 * 86_400)
    await run(door)
    (one,) = await shown(door)
    assert one["state"] == "healthy"
    (row,) = await door.rows("SELECT last_seen_at FROM instances")
    assert row["last_seen_at"] <= door.now + AHEAD
    clock.move(4 * 300)
    await run(door)
    assert await states(door) == ["silent"]


async def test_contacts_of_many_projects_are_taken_in_without_anyone_looking(door: Door) -> None:
    for project in ("a", "b", "c"):
        counts(await door.events(batch([door.event()], batch_id=project), x_project_id=project))
    assert await door.count("instance_contacts") == 3
    await run(door, jobs.fold_contacts)
    assert (await door.count("instance_contacts"), await door.count("instances")) == (0, 3)
    assert timedelta(seconds=jobs.fold_contacts.every_seconds or 0) == timedelta(seconds=10)


async def test_a_process_known_by_its_heir_alone_and_word_that_comes_late(door: Door) -> None:
    dead, heir = uuid4(), uuid4()
    left = batch([door.event()], instance_id=str(dead), agent_version="0.1.0")
    counts(
        await door.events(left, user_agent=GH, x_guardhouse_instance=str(dead), x_guardhouse_heir=str(heir))
    )
    made = {one["id"]: one for one in await shown(door)}
    assert {made[str(me)]["generation"] for me in (dead, heir)} == {"GH"}
    assert (made[str(dead)]["state"], made[str(dead)]["agent_version"]) == ("unclean", "0.1.0")
    over = Instance(
        id=dead, named=True, installation="i", first_seen_at=door.now, last_seen_at=door.now, closed="ended"
    )
    hear(over, door.now - timedelta(seconds=1))  # a sealed envelope of then, opened now
    assert (over.closed, over.last_seen_at) == ("ended", door.now)
    hear(over, door.now)
    assert over.closed is None
