"""Recalculation over HTTP: one process at once, a range as a job; verified, with the newest, dry, refused."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import SetClock, rfc3339
from guardhouse.foundation.resources import Resources
from guardhouse.scores.recalculations import one_process, replay
from guardhouse.scores.recalculations.jobs import run_recalculation
from server.tests.components.hosts import Host, attack, call, score_everything
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door
from server.tests.worker.make import eventually, working

RECALCULATE = "/api/v1/scores:recalculate"
HISTORY = "/api/v1/scores?view=history&limit=1000"


async def asked(door: Door, **body: Any) -> httpx.Response:
    return await door.client.post(RECALCULATE, json=body, headers={"x-api-key": door.key})


async def get(door: Door, path: str) -> Any:
    answer = await door.client.get(path, headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def processes(door: Door) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await get(door, "/api/v1/processes?limit=1000"))["data"]
    return found


async def attacked(host: Host, resources: Resources, at: datetime) -> None:
    await host.accepted(attack(at, seq=0))
    await score_everything(resources)


async def learn(door: Door) -> None:
    made = await door.client.post(
        "/api/v1/risk/profiles:learn", json={"agent_id": "web-1"}, headers={"x-api-key": door.key}
    )
    assert made.status_code == 201, made.text


async def done(door: Door, resources: Resources, answer: httpx.Response) -> dict[str, Any]:
    """Wait for the job of a 202; return the recalculation as it ended."""
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "waiting"
    where = answer.headers["location"]

    async def over() -> bool:
        return (await get(door, where))["state"] in ("done", "failed")

    async with working(resources, run_recalculation):
        await eventually(over)
    found: dict[str, Any] = await get(door, where)
    assert found["finished_at"] is not None
    return found


def around(at: datetime) -> dict[str, str]:
    return {"since": rfc3339(at - timedelta(minutes=1)), "until": rfc3339(at + timedelta(minutes=10))}


@pytest.mark.parametrize("mode", ["verify", "current"])
async def test_it_says_equal_for_every_process(
    door: Door, host: Host, resources: Resources, clock: SetClock, mode: str
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    await host.accepted([call("setuid", clock.now(), seq=100 + n, pid=n) for n in range(5)])
    before = [await processes(door), await get(door, HISTORY)]
    for process in before[0]:
        answer = await asked(door, process_id=process["id"], mode=mode, dry_run=True)
        assert answer.status_code == 200
        said = answer.json()
        assert said["recalculation"] == {"mode": mode, "equal": True, "events": 34}
        for number in ("risk", "risk_score", "band"):
            assert said[number] == process[number]
    assert [await processes(door), await get(door, HISTORY)] == before


async def test_with_the_newest_a_row_is_kept_once_and_the_process_stays_as_it_was(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    await learn(door)
    before = await processes(door)
    (worst,) = [process for process in before if process["id"] == "web-1:4001:k"]
    rows = len((await get(door, HISTORY))["data"])
    said, again = [(await asked(door, process_id=worst["id"], mode="current")).json() for _ in range(2)]
    assert said == again
    assert said["recalculation"]["equal"] is False
    assert said["risk"] < worst["risk"]
    history = (await get(door, HISTORY))["data"]
    assert len(history) == rows + 1
    (kept,) = [row for row in history if row["reasons"] == ["recalculated"]]
    assert (kept["process_id"], kept["risk"], kept["band"]) == (worst["id"], said["risk"], said["band"])
    assert kept["versions"]["profile"] == 1
    assert await processes(door) == before
    latest = (await get(door, f"/api/v1/scores?process_id={worst['id']}"))["data"]
    assert [(row["risk"], "recalculated" in row["reasons"]) for row in latest] == [(worst["risk"], False)]
    assert (await asked(door, process_id=worst["id"])).json()["recalculation"]["equal"] is True


async def test_a_range_is_a_job_that_compares_the_processes_that_lived_in_it(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    at = clock.now() - timedelta(hours=1)
    await attacked(host, resources, at)
    await host.accepted([call("read", clock.now(), seq=500 + n, pid=n) for n in range(3)])
    await score_everything(resources)
    rows = await get(door, HISTORY)
    inside = len(await processes(door)) - 3
    found = await done(door, resources, await asked(door, agent_id="web-1", **around(at)))
    assert (found["state"], found["failure"]) == ("done", None)
    assert found["result"] == {"processes": inside, "equal": inside, "different": [], "rows": 0}
    assert found["events"] == 37
    assert await get(door, HISTORY) == rows
    assert (await get(door, "/api/v1/scores/recalculations"))["data"] == [found]


async def test_a_range_with_the_newest_keeps_rows_unless_it_is_dry(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    at = clock.now() - timedelta(hours=1)
    await attacked(host, resources, at)
    await learn(door)
    rows = len((await get(door, HISTORY))["data"])
    wanted = {"agent_id": "web-1", "mode": "current", **around(at)}
    dry = await done(door, resources, await asked(door, dry_run=True, **wanted))
    assert dry["result"]["rows"] == 0
    assert len((await get(door, HISTORY))["data"]) == rows
    wet = await done(door, resources, await asked(door, **wanted))
    assert wet["result"]["rows"] == wet["result"]["processes"]
    assert wet["result"]["different"] == dry["result"]["different"]
    (worst,) = [one for one in wet["result"]["different"] if one["process_id"] == "web-1:4001:k"]
    assert worst["risk"] < worst["stored_risk"]
    assert len((await get(door, HISTORY))["data"]) == rows + wet["result"]["rows"]


async def test_a_state_that_was_tampered_with_is_found(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    at = clock.now() - timedelta(hours=1)
    await attacked(host, resources, at)
    await door.behind.execute(
        "UPDATE process_states SET state = (SELECT state FROM process_states WHERE key LIKE '4000.%')"
    )
    assert (await asked(door, process_id="web-1:4001:k")).json()["recalculation"]["equal"] is False
    assert (await asked(door, process_id="web-1:4000:a")).json()["recalculation"]["equal"] is True
    found = await done(door, resources, await asked(door, agent_id="web-1", **around(at)))
    assert found["result"]["equal"] == 1
    assert len(found["result"]["different"]) == found["result"]["processes"] - 1


@pytest.mark.parametrize("days_ago", [3, 1])
async def test_without_all_its_events_nothing_can_be_recalculated(
    door: Door, host: Host, resources: Resources, clock: SetClock, days_ago: int
) -> None:
    """Also where the gap lies inside: late events of an old day have positions between those of newer ones."""
    now = clock.now()
    old = now - timedelta(days=3)
    await host.accepted([call(at=old, seq=1)])
    await host.accepted([call(at=now, seq=2), call(at=now - timedelta(days=1), seq=3), call(at=now, seq=4)])
    await score_everything(resources)
    await door.behind.execute(
        "SELECT guardhouse_drop_day('process_events', $1)", (now - timedelta(days=days_ago)).date()
    )
    from_then = rfc3339(now if days_ago == 3 else old)
    answer = await asked(door, process_id="web-1:100")
    told = answer.json()
    assert (answer.status_code, told["code"], told["available_from"]) == (410, "events_expired", from_then)
    found = await done(door, resources, await asked(door, agent_id="web-1", **around(now)))
    assert (found["state"], found["result"]) == ("failed", None)
    assert (found["failure"]["code"], found["failure"]["available_from"]) == ("events_expired", from_then)


async def test_a_long_history_is_left_to_a_job(
    door: Door, host: Host, resources: Resources, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    monkeypatch.setattr(one_process, "MAX_EVENTS", 33)
    monkeypatch.setattr(replay, "CHUNK", 7)
    found = await done(door, resources, await asked(door, process_id="web-1:4001:k"))
    assert (found["since"], found["events"]) == (None, 34)
    assert found["result"] == {"processes": 1, "equal": 1, "different": [], "rows": 0}
    monkeypatch.setattr(one_process, "MAX_EVENTS", 34)
    assert (await asked(door, process_id="web-1:4001:k")).status_code == 200


TIMES = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"process_id": ""},
        {"process_id": "a:1", "mode": "x"},
        {"process": "a:1"},
        {"agent_id": "web-1"},
        {"agent_id": "web-1", "since": TIMES["since"]},
        {"agent_id": "web-1", "since": TIMES["until"], "until": TIMES["since"]},
        {"agent_id": "web-1", "since": TIMES["since"], "until": TIMES["since"]},
        {"agent_id": "web-1", "since": "2026-01-01T00:00:00", "until": TIMES["until"]},
        {"agent_id": "web-1", "process_id": "web-1:1", **TIMES},
        TIMES,
        [],
    ],
)
async def test_bad_recalculations_are_refused(door: Door, body: Any) -> None:
    answer = await door.client.post(RECALCULATE, json=body, headers={"x-api-key": door.key})
    assert answer.status_code == 422


async def test_what_is_not_there_and_what_is_of_others_is_404(
    door: Door, host: Host, resources: Resources, clock: SetClock, database: Clone
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    assert (await asked(door, process_id="web-1:9")).status_code == 404
    assert (await asked(door, agent_id="web-9", **TIMES)).status_code == 404
    made = await asked(door, agent_id="web-1", **TIMES)
    async with open_door(resources, database.superuser_url, slug="other") as other:
        for answer in (
            await asked(other, process_id="web-1:4001:k"),
            await asked(other, agent_id="web-1", **TIMES),
            await other.client.get(made.headers["location"], headers={"x-api-key": other.key}),
        ):
            assert answer.status_code == 404
        assert (await get(other, "/api/v1/scores/recalculations"))["data"] == []
