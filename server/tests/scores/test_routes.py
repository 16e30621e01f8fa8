"""Processes, trees and scores over HTTP: lists without loss, filters, explanations that sum, other tenants."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import Host, attack, call, score_everything
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door

PROCESSES = "/api/v1/processes"
SCORES = "/api/v1/scores"


async def get(door: Door, path: str, **query: Any) -> httpx.Response:
    return await door.client.get(path, params=query, headers={"x-api-key": door.key})


async def good(door: Door, path: str, **query: Any) -> Any:
    answer = await get(door, path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(door: Door, path: str, **query: Any) -> list[str]:
    return [row["id"] for row in (await good(door, path, **query))["data"]]


async def walk(door: Door, path: str, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await good(door, path, **query, **cursor)
        rows += page["data"]
        if not page["pagination"]["has_more"]:
            return rows
        cursor = {"cursor": page["pagination"]["cursor"]}


async def attacked(host: Host, resources: Resources, at: datetime) -> None:
    await host.accepted(attack(at, seq=0))
    await score_everything(resources)


async def test_walks_over_equal_times_and_risks_lose_and_repeat_nothing(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await host.accepted([call("read", clock.now(), seq=n, pid=n) for n in range(23)])
    await score_everything(resources)
    for path, query in (
        (PROCESSES, {}),
        (PROCESSES, {"sort": "risk"}),
        (SCORES, {}),
        (SCORES, {"view": "history"}),
    ):
        rows = await walk(door, path, limit=4, **query)
        assert sorted(row["pid"] for row in rows) == list(range(23)), (path, query)
        assert [row["id"] for row in rows] == [row["id"] for row in await walk(door, path, **query)]


async def test_latest_is_one_row_per_process_as_of_its_last_event(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(minutes=5)
    await host.accepted([call("execve", begin, seq=0), *(call("read", begin, seq=n) for n in range(1, 5))])
    await host.accepted([{"pid": 100, "kind": "exit", "seq": 9, "timestamp": clock.now().isoformat()}])
    await score_everything(resources)
    (latest,) = await walk(door, SCORES)
    history = await walk(door, SCORES, view="history")
    assert len(history) >= 2
    assert (latest["position"], latest["risk_score"]) == (6, 18.0)
    assert latest["calculated_at"] == clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert latest["id"] == history[0]["id"]
    assert [row["calculated_at"] for row in history] == sorted(
        (r["calculated_at"] for r in history), reverse=True
    )
    one = await good(door, f"{SCORES}/{history[-1]['id']}")
    assert one == history[-1]
    dashed = history[-1]["id"]
    dashed = f"{dashed[:8]}-{dashed[8:12]}-{dashed[12:16]}-{dashed[16:20]}-{dashed[20:]}"
    assert (await good(door, f"{SCORES}/{dashed}"))["id"] == history[-1]["id"]


async def test_the_oldest_worked_numbers(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    worked = {
        1: (["execve"], 50),
        2: (["execve", "open"], 30),
        3: (["ptrace"], 100),
        4: (["setuid", "ptrace"], 90),
        5: (["socket"], 20),
        6: (["ptrace"] + ["read"] * 9, 19),
        7: (["ptrace"] + ["read"] * 99, 10.9),
    }
    events = [call(name, clock.now(), pid=pid) for pid, (names, _) in worked.items() for name in names]
    await host.accepted([event | {"seq": n} for n, event in enumerate(events)])
    await score_everything(resources)
    found = {row["pid"]: row["risk_score"] for row in await walk(door, SCORES)}
    assert found == {pid: score for pid, (_, score) in worked.items()}


async def test_filters_of_processes(door: Door, host: Host, resources: Resources, clock: SetClock) -> None:
    begin = clock.now() - timedelta(hours=1)
    await attacked(host, resources, begin)
    await Host(door.client, door.key, id="web-2").accepted([call("read", clock.now(), exe="/usr/bin/cat")])
    await score_everything(resources)
    every = await walk(door, PROCESSES)
    shell, server = "web-1:4001:k", "web-1:4000:a"
    assert {"web-2:100", shell, server} < {row["id"] for row in every}
    assert await ids(door, PROCESSES, agent_id="web-2") == ["web-2:100"]
    assert await ids(door, PROCESSES, pid=4001) == [shell]
    assert await ids(door, PROCESSES, exe="/usr/bin/ca") == ["web-2:100"]
    assert await ids(door, PROCESSES, exe="%") == []
    assert shell in await ids(door, PROCESSES, band="high")
    assert "web-2:100" not in await ids(door, PROCESSES, tree_band="high")
    assert set(await ids(door, PROCESSES, tree_band="high")) == {row["id"] for row in every} - {"web-2:100"}
    risks = {row["id"]: row["risk"] for row in every}
    edge = risks[shell]
    assert set(await ids(door, PROCESSES, risk_min=edge)) == {i for i, r in risks.items() if r >= edge}
    assert set(await ids(door, PROCESSES, risk_max=edge)) == {i for i, r in risks.items() if r <= edge}
    assert (await ids(door, PROCESSES, sort="risk"))[0] == max(risks, key=lambda name: risks[name])
    ended = {row["id"] for row in every if row["exited_at"]}
    assert len(ended) == 8
    assert set(await ids(door, PROCESSES, alive="false")) == ended
    assert await ids(door, PROCESSES, since=clock.now().isoformat()) == ["web-2:100"]
    assert "web-2:100" not in await ids(door, PROCESSES, until=clock.now().isoformat())


async def test_filters_of_scores(door: Door, host: Host, resources: Resources, clock: SetClock) -> None:
    begin = clock.now() - timedelta(hours=1)
    await attacked(host, resources, begin)
    rows = {row["process_id"]: row for row in await walk(door, SCORES)}
    shell = rows["web-1:4001:k"]
    for view in ("latest", "history"):
        found = await walk(door, SCORES, process_id=shell["process_id"], view=view)
        assert {row["process_id"] for row in found} == {shell["process_id"]}
        assert len(await walk(door, SCORES, agent_id="web-1", view=view)) == len(
            await walk(door, SCORES, view=view)
        )
        assert await walk(door, SCORES, agent_id="web-2", view=view) == []
        for by in ("risk", "risk_score"):
            high = await walk(door, SCORES, by=by, risk_min=45, view=view)
            low = await walk(door, SCORES, by=by, risk_max=44.99, view=view)
            assert all(row[by] >= 45 for row in high)
            assert all(row[by] < 45 for row in low)
            assert len(high) + len(low) == len(await walk(door, SCORES, view=view))
        assert all(row["band"] == "high" for row in await walk(door, SCORES, band="high", view=view))
        assert await walk(door, SCORES, until=begin.isoformat(), view=view) == []
    assert {tuple(part) for row in rows.values() for part in row["evidence"]} <= {("id", "nats", "points")}


async def test_an_explanation_sums_to_the_number_and_cites_events_that_exist(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    shell = await good(door, f"{PROCESSES}/web-1:4001:k")
    why = shell["explanation"]
    assert shell["band"] == "high"
    assert (why["risk"], why["band"]) == (shell["risk"], shell["band"])
    assert shell["tree"]["risk"] == shell["tree_risk"]
    assert shell["tree_risk"] >= shell["risk"]
    for explained in (why, shell["tree"]):
        assert round(sum(part["points"] for part in explained["contributions"]), 2) == explained["risk"]
        for part in explained["contributions"]:
            assert part["events"]
            for event in part["events"]:
                assert (await get(door, f"/api/v1/events/{event}")).status_code == 200
    (listed,) = [row for row in await walk(door, PROCESSES) if row["id"] == shell["id"]]
    assert listed == {name: shell[name] for name in listed}


async def test_a_tree_is_shown_from_its_root_and_cut_where_asked(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    for process in ("web-1:4001:k", "web-1:4000:a", "web-1:4003"):
        tree = await good(door, f"{PROCESSES}/{process}/tree")
        assert tree["root_id"] == "web-1:4000:a"
        assert tree["nodes"][0]["id"] == "web-1:4000:a"
        assert (len(tree["nodes"]), tree["cut"]) == (10, False)
        assert {node["parent_id"] for node in tree["nodes"]} == {None, "web-1:4000:a", "web-1:4001:k"}
        assert {node["tree_risk"] for node in tree["nodes"]} == {tree["risk"]}
    shallow = await good(door, f"{PROCESSES}/web-1:4000:a/tree", depth=2)
    assert [node["id"] for node in shallow["nodes"]] == ["web-1:4000:a", "web-1:4001:k"]
    narrow = await good(door, f"{PROCESSES}/web-1:4000:a/tree", limit=3)
    assert (len(narrow["nodes"]), narrow["cut"]) == (3, True)
    for query in ({"depth": 0}, {"depth": 9}, {"limit": 0}, {"limit": 1001}):
        assert (await get(door, f"{PROCESSES}/web-1:4000:a/tree", **query)).status_code == 422


async def test_the_short_id_stands_for_the_newest_instance(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    now = clock.now()
    await host.accepted([call(at=now, seq=1, start=10), call(at=now, seq=2, start=20)])
    await score_everything(resources)
    answer = await get(door, f"{PROCESSES}/web-1:100")
    assert answer.json()["id"] == "web-1:100:k"
    assert answer.headers["content-location"] == f"{PROCESSES}/web-1:100:k"
    exact = await get(door, f"{PROCESSES}/web-1:100:a")
    assert (exact.json()["id"], exact.headers.get("content-location")) == ("web-1:100:a", None)


@pytest.mark.parametrize(
    "name",
    ["web-1", "web-1:9", "web-1:100:zz", "x:1:2:3", "a:99999999", "a:1:zzzzzzzzzzzzz", "web-2:100", "ü:1"],
)
async def test_an_unknown_process_is_not_found(
    door: Door, host: Host, resources: Resources, clock: SetClock, name: str
) -> None:
    await host.accepted([call(at=clock.now(), seq=1)])
    await score_everything(resources)
    for path in (f"{PROCESSES}/{name}", f"{PROCESSES}/{name}/tree"):
        answer = await get(door, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


@pytest.mark.parametrize("name", ["0" * 32, "f" * 32, "e677d21fdbff" + "7" + "0" * 19])
async def test_an_unknown_score_is_not_found(door: Door, name: str) -> None:
    assert (await get(door, f"{SCORES}/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (PROCESSES, {"risk_min": 60, "risk_max": 50}),
        (PROCESSES, {"risk_min": -1}),
        (PROCESSES, {"risk_max": 101}),
        (PROCESSES, {"risk_min": "nan"}),
        (PROCESSES, {"sort": "name"}),
        (PROCESSES, {"band": "red"}),
        (PROCESSES, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
        (PROCESSES, {"since": "2026-01-02T00:00:00"}),
        (PROCESSES, {"process": "x"}),
        (PROCESSES, {"exe": "\0"}),
        (SCORES, {"risk_min": 60, "risk_max": 50}),
        (SCORES, {"by": "name"}),
        (SCORES, {"view": "all"}),
        (SCORES, {"limit": 0}),
        (SCORES, {"process_id": "\0"}),
        (f"{SCORES}/x", {}),
    ],
)
async def test_bad_queries_are_refused(door: Door, path: str, query: dict[str, Any]) -> None:
    assert (await get(door, path, **query)).status_code == 422


async def test_cursors_belong_to_their_list(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await host.accepted([call(at=clock.now(), seq=n, pid=n) for n in range(5)])
    await score_everything(resources)
    cursor = (await good(door, PROCESSES, limit=2))["pagination"]["cursor"]
    for path, query in ((PROCESSES, {"sort": "risk"}), (PROCESSES, {"pid": 1}), (SCORES, {})):
        answer = await get(door, path, cursor=cursor, **query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")
    clock.move(3601)
    assert (await get(door, PROCESSES, cursor=cursor)).json()["reason"] == "expired"


async def test_the_longest_names_can_be_paged_over(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    host.members |= {"boot_id": "b" * 128}
    await host.accepted([call(at=clock.now(), seq=n, pid=4194304 - n, start=(1 << 63) - 1) for n in range(3)])
    await score_everything(resources)
    assert len(await walk(door, PROCESSES, limit=1)) == 3
    host.members |= {"boot_id": "é" * 65}
    assert (await host.send([call()])).status_code == 422


async def test_another_tenant_sees_nothing_and_learns_nothing(
    door: Door, host: Host, resources: Resources, clock: SetClock, database: Clone
) -> None:
    await attacked(host, resources, clock.now() - timedelta(hours=1))
    (score, *_) = await walk(door, SCORES)
    async with open_door(resources, database.superuser_url, slug="other") as other:
        for path in (PROCESSES, SCORES, f"{SCORES}?view=history", f"{PROCESSES}?agent_id=web-1"):
            assert (await good(other, path))["data"] == []
        for path in (
            f"{PROCESSES}/web-1:4001:k",
            f"{PROCESSES}/web-1:4001:k/tree",
            f"{SCORES}/{score['id']}",
        ):
            assert (await get(other, path)).status_code == 404
    viewer = {"x-api-key": other.key}
    assert (await door.client.get(PROCESSES, headers=viewer)).json()["data"] == []


async def test_process_rows_outlive_their_score_rows(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await host.accepted([call(at=clock.now(), seq=1)])
    await score_everything(resources)
    await door.behind.execute("SELECT guardhouse_drop_day('scores', $1)", clock.now().date())
    (row,) = await walk(door, SCORES)
    assert (row["process_id"], row["reasons"], row["evidence"]) == ("web-1:100", [], [])
    assert await walk(door, SCORES, view="history") == []
