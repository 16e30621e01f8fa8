"""Learning on the real database: by the hour, on request, in steps; each run once, what is risky or lossy never."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.learn import Run, RunCollector
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.baselines import fold, jobs
from guardhouse.scores.baselines.fold import VersionTaken, Wanted
from server.tests.components.hosts import Host, attack, call, make_days, score_everything
from server.tests.ingest.make import Door

PROFILES = "/api/v1/risk/profiles"
DAY = timedelta(days=1)
DAY_SECONDS = DAY.total_seconds()
SECRET = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}


async def get(door: Door, path: str, **query: Any) -> Any:
    answer = await door.client.get(path, params=query, headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def hourly(resources: Resources) -> None:
    now = resources.clock.now()
    job = ClaimedJob(1, "scores.learn_baselines", "null", None, "platform", 1, 0, now, str(uuid4()))
    await jobs.learn_baselines.run(JobContext(resources, job))


async def send(host: Host, resources: Resources, events: Sequence[dict[str, Any]]) -> None:
    await host.accepted([event | {"seq": host.sent * 10_000 + n} for n, event in enumerate(events)])
    await score_everything(resources)


def quiet(
    at: datetime, pid: int, calls: int = 20, exe: str = "/opt/app", **first: Any
) -> list[dict[str, Any]]:
    """Return a run of a program: exec, calls, exit, a millisecond apart."""
    common = {"pid": pid, "start": pid}
    events: list[dict[str, Any]] = [common | {"kind": "exec", "exe": exe, "args": {"path": exe}} | first]
    names = ("read", "write", "futex")
    events += [common | {"syscall": names[n % 3]} for n in range(calls)]
    events.append(common | {"kind": "exit", "code": 0})
    for n, event in enumerate(events):
        event["timestamp"] = (at + timedelta(milliseconds=n)).isoformat()
    return events


async def baseline(door: Door, exe: str = "/opt/app") -> dict[str, Any] | None:
    found = (await get(door, PROFILES, exe=exe))["data"]
    assert len(found) <= 1
    return dict(await get(door, f"{PROFILES}/{found[0]['id']}")) if found else None


async def learn(door: Door, **body: Any) -> Any:
    return await door.post(f"{PROFILES}:learn", body or {"agent_id": "web-1"})


async def equal_everywhere(door: Door) -> None:
    for process in (await get(door, "/api/v1/processes", limit=1000))["data"]:
        answer = await door.post("/api/v1/scores:recalculate", {"process_id": process["id"]})
        assert answer.json()["recalculation"]["equal"] is True, process["id"]


async def test_what_ended_a_day_ago_and_was_harmless_is_learned_once(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    for pid in (10, 11, 12):
        await send(host, resources, quiet(begin, pid))
    await hourly(resources)
    assert await baseline(door) is None  # a day has not passed
    clock.move(DAY_SECONDS)
    await make_days(resources)
    for _ in range(2):
        await hourly(resources)
        found = await baseline(door)
        assert found is not None
        assert (found["version"], found["runs"], found["calls"]) == (1, 3, 60)
        assert found["waiting"] == {}
    assert await door.count("risk_runs") == 0
    # A process started from now on is bound to it, and a replay of everything is equal.
    await send(host, resources, quiet(clock.now(), 13))
    why = (await get(door, "/api/v1/processes/web-1:13"))["explanation"]
    assert (why["baseline"]["calls"], why["versions"]["profile"]) == (60, 1)
    await equal_everywhere(door)


async def test_runs_at_risk_with_losses_or_confirmed_stay_out(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=5)
    await send(host, resources, quiet(begin, 10, exe="/opt/calm"))
    risky = quiet(begin, 11, exe="/opt/risky")
    risky.insert(3, risky[2] | {"syscall": "openat", "args": SECRET, "ret": 3})
    await send(host, resources, risky)
    lossy = quiet(begin + timedelta(hours=1), 12, exe="/opt/lossy")
    lossy.insert(3, {"kind": "loss", "count": 5, "where": "kernel", "timestamp": lossy[3]["timestamp"]})
    await send(host, resources, lossy)
    await send(host, resources, quiet(begin + timedelta(hours=2), 13, exe="/opt/bad"))
    said = await door.post("/api/v1/processes/web-1:13/verdict", {"verdict": "confirmed"})
    assert said.status_code == 201
    clock.move(DAY_SECONDS)
    await make_days(resources)
    await hourly(resources)
    assert [row["exe"] for row in (await get(door, PROFILES))["data"]] == ["/opt/calm"]
    rows = await door.rows("SELECT exe, left_out FROM risk_runs ORDER BY exe")
    assert [tuple(row) for row in rows] == [
        ("/opt/bad", None),
        ("/opt/lossy", "loss"),
        ("/opt/risky", "incident"),
    ]
    # A person's word takes in what was only risky; what was confirmed waits for another word.
    assert (await learn(door)).status_code == 201
    assert [row["exe"] for row in (await get(door, PROFILES))["data"]].count("/opt/risky") == 1
    risky_one = await baseline(door, "/opt/risky")
    assert risky_one is not None
    assert risky_one["usual"] == [{"id": "rule.credential_read", "runs": 1, "weight": 0.0}]
    path = f"/api/v1/processes/web-1:13/verdicts/{said.json()['id']}"
    assert (await door.client.delete(path, headers={"x-api-key": door.key})).status_code == 204
    await hourly(resources)
    assert await baseline(door, "/opt/bad") is not None


async def test_a_tree_that_turns_bad_later_bars_what_ran_before(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    """The child was calm and has ended; its parent attacks within the day of waiting."""
    begin = clock.now() - timedelta(hours=5)
    await send(host, resources, quiet(begin, 10, exe="/opt/parent")[:-1])
    born = {"pid": 10, "start": 10, "kind": "fork", "child_pid": 11, "child_start": 11}
    await send(
        host, resources, [born | {"timestamp": begin.isoformat()}, *quiet(begin, 11, exe="/opt/child")]
    )
    later = {"pid": 10, "start": 10, "timestamp": (begin + timedelta(hours=1)).isoformat()}
    await send(host, resources, [later | {"syscall": "openat", "args": SECRET, "ret": 3}])
    clock.move(DAY_SECONDS)
    await make_days(resources)
    await hourly(resources)
    assert (await get(door, PROFILES))["data"] == []
    rows = await door.rows("SELECT DISTINCT exe, left_out FROM risk_runs WHERE exe = '/opt/child'")
    assert [tuple(row) for row in rows] == [("/opt/child", "risk")]


async def test_learning_now_takes_runs_that_go_on_and_counts_them_once(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    events = quiet(clock.now() - timedelta(hours=1), 10, calls=40)
    await send(host, resources, events[:21])
    first = await learn(door)
    assert first.status_code == 201, first.text
    assert {
        name: first.json()[name] for name in ("group", "version", "programs", "runs", "calls", "complete")
    } == {
        "group": "web-1",
        "version": 1,
        "programs": 1,
        "runs": 1,
        "calls": 20,
        "complete": True,
    }
    assert (await learn(door)).json()["code"] == "conflict"
    await send(host, resources, events[21:])
    second = (await learn(door)).json()
    assert (second["version"], second["runs"], second["calls"]) == (2, 0, 20)
    found = await baseline(door)
    assert found is not None
    assert (found["version"], found["runs"], found["calls"]) == (2, 1, 40)
    rows = await door.rows("SELECT action, target FROM audit_log WHERE action = 'risk.learn'")
    assert [tuple(row) for row in rows] == [("risk.learn", "profiles:web-1")] * 2


async def test_steps_of_any_size_count_the_same(
    door: Door, host: Host, resources: Resources, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = clock.now() - timedelta(hours=2)
    for pid in range(10, 16):
        await send(host, resources, quiet(begin, pid, calls=30 + pid))
    found = {}
    for calls, runs in ((100_000, 1_000), (25, 1_000), (100_000, 2)):
        await door.behind.execute("UPDATE risk_runs SET folded_to = after_position")
        await door.behind.execute("TRUNCATE risk_profiles, risk_baselines")
        monkeypatch.setattr(fold, "CALLS_AT_ONCE", calls)
        monkeypatch.setattr(fold, "RUNS_AT_ONCE", runs)
        monkeypatch.setattr(fold, "CHUNK", 7)
        await door.behind.execute("CREATE TABLE kept_runs AS SELECT * FROM risk_runs")
        wanted = Wanted(door.tenant, "web-1", clock.now() + DAY, vouched=True)
        while await jobs.fold_step(resources, wanted, "test") is not None:
            pass
        await door.behind.execute("INSERT INTO risk_runs SELECT * FROM kept_runs; DROP TABLE kept_runs")
        rows = await door.rows(
            "SELECT DISTINCT ON (profile_id) exe, runs, calls, packed FROM risk_baselines"
            " ORDER BY profile_id, version DESC"
        )
        found[(calls, runs)] = [tuple(row) for row in rows]
    # Contexts begin anew where a long run is cut, so only the sums are the same there.
    whole, cut, few = found.values()
    assert whole == few
    assert [row[:3] for row in whole] == [row[:3] for row in cut]


async def test_the_runs_that_are_read_are_those_of_a_replay(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=3)
    events = attack(begin, first_pid=4000) + quiet(begin, 10) + quiet(begin + timedelta(seconds=5), 11)
    bursts = {"pid": 12, "start": 12, "kind": "calls", "names": ["read", "write"] * 9, "exe": "/opt/burst"}
    events += [bursts | {"timestamp": begin.isoformat()}] * 2
    await send(host, resources, events)
    await jobs.look_at_open_runs(resources, door.tenant, "web-1", clock.now() + DAY)
    wanted = Wanted(door.tenant, "web-1", clock.now() + DAY, vouched=True)
    async with system_transaction(resources.database) as tx:
        parts = [await fold.read(tx, stored, 100_000) for stored in await fold.pick(tx, wanted)]
        stored_events = await events_read.read_after(tx, parts[0].stored.agent_no, 0, 10_000)
    collector = RunCollector(AgentEngine(RuleSet.builtin()), str(parts[0].stored.agent_no))
    for event in stored_events:
        collector.observe(event)

    def told(run: Run) -> tuple[Any, ...]:
        return run.name, run.exe, run.alphabet, run.grams, run.hits, run.edges, run.paths

    assert len(parts) > 10
    assert sorted(map(told, (part.run for part in parts))) == sorted(map(told, collector.finish()))


async def test_two_who_learn_at_once_count_every_run_once(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await send(host, resources, quiet(clock.now() - timedelta(hours=2), 10))
    wanted = Wanted(door.tenant, "web-1", clock.now() + DAY, vouched=True)
    now = clock.now()
    async with system_transaction(resources.database) as tx:
        parts = [await fold.read(tx, stored, 1000) for stored in await fold.pick(tx, wanted)]
        before = await fold.load_before(tx, wanted, parts)
    made = fold.learn_parts(before, wanted, parts)
    async with system_transaction(resources.database) as tx:
        await fold.keep(tx, wanted, before, made, parts, ("one", now))
    with pytest.raises(VersionTaken):
        async with system_transaction(resources.database) as tx:
            await fold.keep(tx, wanted, before, made, parts, ("two", now))
    found = await baseline(door)
    assert found is not None
    assert found["runs"] == 1
    assert await jobs.fold_step(resources, wanted, "three") is None


async def test_counts_are_halved_each_thirty_days_and_old_versions_go(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    for pid in range(10, 15):
        await send(host, resources, quiet(begin, pid))
    assert (await learn(door)).status_code == 201
    clock.move(29 * DAY_SECONDS)
    await hourly(resources)
    found = await baseline(door)
    assert found is not None
    assert (found["version"], found["runs"], found["calls"]) == (1, 5, 100)
    clock.move(2 * DAY_SECONDS)
    await hourly(resources)
    found = await baseline(door)
    assert found is not None
    assert (found["version"], found["runs"], found["calls"]) == (2, 2, 50)
    clock.move(32 * DAY_SECONDS)
    await hourly(resources)
    found = await baseline(door)
    assert found is not None
    assert (found["version"], found["runs"], found["calls"]) == (3, 1, 25)
    assert {row[0] for row in await door.rows("SELECT version FROM risk_baselines")} == {2, 3}


async def test_a_silent_process_is_taken_to_have_ended(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await send(host, resources, quiet(clock.now() - timedelta(hours=2), 10)[:-1])
    clock.move(DAY_SECONDS / 2)
    await hourly(resources)
    assert await baseline(door) is None
    clock.move(DAY_SECONDS)
    await hourly(resources)
    await hourly(resources)
    found = await baseline(door)
    assert found is not None
    assert (found["version"], found["runs"]) == (1, 1)


async def test_agents_of_a_group_share_a_baseline_and_others_do_not(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    for name, group in (("web-1", "web"), ("web-2", "web"), ("db-1", "db")):
        body = {"id": name, "metadata": {"group": group}}
        assert (await door.post("/api/v1/agents", body)).status_code == 201
        one = Host(door.client, door.key, id=name, members={"stream": "s", "boot_id": "b"})
        await send(one, resources, quiet(clock.now() - timedelta(hours=1), 10))
    assert (await learn(door, group="web")).json()["runs"] == 2
    assert [row["group"] for row in (await get(door, PROFILES))["data"]] == ["web"]
    assert (await learn(door, agent_id="db-1")).json()["group"] == "db"
    pages = await get(door, PROFILES, limit=1)
    rest = await get(door, PROFILES, limit=1, cursor=pages["pagination"]["cursor"])
    assert [pages["data"][0]["group"], rest["data"][0]["group"]] == ["db", "web"]
    assert rest["pagination"]["has_more"] is False
    assert [row["group"] for row in (await get(door, PROFILES, group="db"))["data"]] == ["db"]


async def test_what_is_usual_is_told_with_what_people_answered(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    for pid in range(10, 14):
        events = quiet(begin, pid)
        if pid < 12:
            events.insert(3, events[2] | {"syscall": "openat", "args": SECRET, "ret": 3})
        await send(host, resources, events)
    assert (await learn(door)).status_code == 201
    await door.post("/api/v1/processes/web-1:10/verdict", {"verdict": "false_alarm"})
    found = await baseline(door)
    assert found is not None
    assert [(row["id"], row["runs"]) for row in found["usual"]] == [("rule.credential_read", 2)]
    assert 0 < found["usual"][0]["weight"] < 1
    assert found["answers"] == [
        {"id": "rule.credential_read", "detail": None, "verdict": "false_alarm", "times": 1}
    ]
    assert (found["edges"], found["paths"], found["surprise_limit"]) == ([], ["r /etc/shadow"], None)
    again = quiet(begin + timedelta(minutes=1), 20)
    again.insert(3, again[2] | {"syscall": "openat", "args": SECRET, "ret": 3})
    await send(host, resources, again)
    why = (await get(door, "/api/v1/processes/web-1:20"))["explanation"]
    assert [item["why"] for item in why["suppressed"]] == ["usual here: 2 of 4 runs"]
    await equal_everywhere(door)


async def test_what_cannot_be_learned_is_refused(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    assert (await learn(door, agent_id="web-1")).status_code == 404
    assert (await learn(door, group="web")).status_code == 404
    await host.accepted([call(at=clock.now(), seq=1)])
    await score_everything(resources)
    assert (await learn(door)).json()["code"] == "conflict"  # no program was ever told
    for body in ({}, {"agent_id": "web-1", "group": "web-1"}, {"group": ""}, {"until": "yesterday"}):
        assert (await door.post(f"{PROFILES}:learn", body)).status_code == 422, body
    unknown = f"{PROFILES}/00000000-0000-7000-8000-000000000000"
    answer = await door.client.get(unknown, headers={"x-api-key": door.key})
    assert answer.status_code == 404
    until = (clock.now() - timedelta(hours=3)).isoformat()
    await send(host, resources, quiet(clock.now() - timedelta(hours=2), 10))
    assert (await learn(door, agent_id="web-1", until=until)).json()["code"] == "conflict"


async def test_losses_are_told_where_they_matter(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    events = quiet(clock.now() - timedelta(hours=1), 10, calls=100)
    events.insert(50, {"kind": "loss", "count": 312, "where": "kernel", "timestamp": events[50]["timestamp"]})
    await send(host, resources, events[:-1])
    told = (await get(door, "/api/v1/processes/web-1:10"))["explanation"]["baseline"]
    assert (told["losses"], told["losses_of_run"]) == (312, 312)
    assert told["note"].startswith("you lost 312 events in the last ten minutes: rarity counts ")
