"""Judging: a stream learns, finds what does not belong, tells of it once; restarts and rivals change nothing."""

import asyncio
import json
from pathlib import Path

from guardhouse.anomalies.scan import claim
from guardhouse.anomalies.scan.engines import Engines
from guardhouse.anomalies.scan.step import StepLost, judge_step
from guardhouse.anomalies.scan.store import LANES, Waiting, list_waiting
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.objects import LocalObjects
from guardhouse.foundation.transaction import system_transaction
from server.tests.anomalies.make import make_stream, post_events, send
from server.tests.anomalies.scan.make import ODD, feed, judging, lines, told, until_judged
from server.tests.ingest.make import Door


async def waiting_in(door: Door) -> list[Waiting]:
    async with system_transaction(door.resources.database) as tx:
        return await list_waiting(tx, range(LANES), 64, 0, [])


async def judge_all(door: Door, engines: Engines) -> int:
    """Do steps until nothing waits; returns how many."""
    steps = 0
    while waiting := await waiting_in(door):
        for one in waiting:
            await judge_step(
                lambda: system_transaction(door.resources.database), engines, one, door.resources.clock
            )
            steps += 1
    return steps


def engines_of(door: Door) -> Engines:
    return Engines(door.resources.objects, door.resources.clock)


async def test_a_stream_learns_and_then_finds_what_does_not_belong(door: Door) -> None:
    await make_stream(door, "web")
    async with judging(door.resources):
        await feed(door, "web", lines(399))
        await until_judged(door)
        shown = (await send(door, "GET", "/streams/web")).json()
        assert (shown["state"], shown["calibration"]["progress_percent"]) == ("calibrating", 99.8)
        await feed(door, "web", lines(600, seed=8))
        await post_events(door, "web", {"text": ODD, "entity": "host-2"})
        await until_judged(door)
    shown = (await send(door, "GET", "/streams/web")).json()
    assert (shown["state"], shown["calibration"]["detection_ready"], shown["lag_seconds"]) == (
        "ready",
        True,
        0,
    )
    rows = await door.rows("SELECT * FROM anomalies WHERE alerted")
    assert [(row["kind"], row["first_seq"], row["last_seq"]) for row in rows] == [("event", 1000, 1000)]
    row = rows[0]
    assert (row["entity"], row["status"], row["significant"]) == ("host-2", "pending", True)
    assert row["p_value"] <= 0.001
    assert "web" in row["explanation_text"]
    figures, explained = json.loads(row["glass_box"]), json.loads(row["explanation"])
    assert (figures["state"], figures["shrunk"]) == ("figures", False)
    assert 0 < row["ncd_score"] == figures["ncd"] <= 1
    assert explained["heat_map"]["text"] == ODD
    assert len(explained["heat_map"]["milli_bits"]) >= len(explained["heat_map"]["masked"])
    assert explained["spans"]
    notices = await door.rows(
        "SELECT kind, severity, data FROM notices WHERE kind IN"
        " ('anomaly.detected', 'stream.ready') ORDER BY notice_id"
    )
    assert [notice["kind"] for notice in notices] == ["stream.ready", "anomaly.detected"]
    said = json.loads(notices[1]["data"])
    assert (said["anomaly_id"], said["stream"]) == (str(row["anomaly_id"]), "web")
    assert notices[1]["severity"] == row["severity"]


async def test_killed_at_any_step_the_same_is_told(door: Door, tmp_path: Path) -> None:
    usual = lines(2600)
    for place in (1700, 2000, 2200, 2500):
        usual[place] = {"text": f"{ODD} {place}"}
    await make_stream(door, "web")
    await feed(door, "web", usual, cut=173)
    await judge_all(door, engines_of(door))
    wanted = await told(door)
    assert {row[1] for row in wanted if row[6]} >= {1701, 2001, 2201, 2501}
    seed = (await send(door, "GET", "/streams/web")).json()["seed"]
    await door.behind.execute(
        "TRUNCATE anomalies, stream_decisions, stream_states;"
        " UPDATE streams SET processed_seq = 0, learning = 'calibrating', waiting_since = now()"
    )
    objects = LocalObjects(tmp_path / "states")
    for step in range(100):
        engines = Engines(objects, door.resources.clock)  # each step by a worker that has just started
        waiting = await waiting_in(door)
        if not waiting:
            break
        opening = lambda: system_transaction(door.resources.database)  # noqa: E731 - as the worker's
        await judge_step(opening, engines, waiting[0], door.resources.clock)
        held = engines.held(waiting[0].stream_no)
        if step % 2 and held is not None:
            await engines.save(opening, waiting[0], held)
    assert await told(door) == wanted
    assert (await send(door, "GET", "/streams/web")).json()["seed"] == seed
    assert await door.count("stream_states") <= 2


async def test_a_damaged_state_gives_way_to_the_segments(door: Door) -> None:
    await make_stream(door, "web")
    await feed(door, "web", lines(600))
    engines = engines_of(door)
    waiting = (await waiting_in(door))[0]
    await judge_all(door, engines)
    held = engines.held(waiting.stream_no)
    assert held is not None
    await engines.save(lambda: system_transaction(door.resources.database), waiting, held)
    await door.behind.execute("UPDATE stream_states SET sha256 = '\\x00'")
    await feed(door, "web", lines(300, seed=9))
    await judge_all(door, engines_of(door))
    afresh = engines_of(door)
    await feed(door, "web", [{"text": ODD}])
    await judge_all(door, afresh)
    rows = await door.rows("SELECT first_seq FROM anomalies WHERE alerted ORDER BY first_seq")
    assert rows[-1]["first_seq"] == 901


async def test_of_two_workers_at_one_stream_one_is_lost(door: Door) -> None:
    await make_stream(door, "web")
    await feed(door, "web", lines(700))
    await post_events(door, "web", {"text": ODD})
    waiting = (await waiting_in(door))[0]
    outcomes = await asyncio.gather(
        *(
            judge_step(
                lambda: system_transaction(door.resources.database),
                engines_of(door),
                waiting,
                door.resources.clock,
            )
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["StepLost", "StepLost", "int"]
    assert any(isinstance(outcome, StepLost) for outcome in outcomes)
    assert len([row for row in await told(door) if row[6]]) == 1
    assert (await door.rows("SELECT count(*) FROM notices WHERE kind = 'anomaly.detected'"))[0][0] == 1


async def test_lanes_are_shared_taken_over_and_given_back(door: Door) -> None:
    first, second = new_id(), new_id()
    clock = door.resources.clock
    async with system_transaction(door.resources.database) as tx:
        assert len(await claim.take_lanes(tx, clock, first, 40)) == 40
        assert len(await claim.take_lanes(tx, clock, second, LANES)) == 24
        await claim.release_lanes(tx, first)
        assert len(await claim.take_lanes(tx, clock, second, LANES)) == LANES


async def test_a_deleted_stream_is_left_alone(door: Door) -> None:
    await make_stream(door, "web")
    await feed(door, "web", lines(50))
    waiting = (await waiting_in(door))[0]
    await send(door, "DELETE", "/streams/web", params={"confirm": "web"})
    assert await waiting_in(door) == []
    try:
        await judge_step(
            lambda: system_transaction(door.resources.database),
            engines_of(door),
            waiting,
            door.resources.clock,
        )
    except StepLost:
        return
    raise AssertionError("a deleted stream was judged")


async def test_what_waits_too_long_is_told_to_the_sender(door: Door) -> None:
    await make_stream(door, "web")
    await feed(door, "web", lines(10))
    await door.behind.execute("UPDATE streams SET waiting_since = waiting_since - interval '6 minutes'")
    answer = await post_events(door, "web", {"text": "a"})
    assert (answer.status_code, answer.json()["code"]) == (429, "stream_behind")
    assert (await send(door, "GET", "/streams/web")).json()["lag_seconds"] > 300
    await judge_all(door, engines_of(door))
    assert (await post_events(door, "web", {"text": "a"})).status_code == 202
