"""Reading events over HTTP: filters, order, cursors, other tenants."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import EVENTS, Host, call
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door


async def get(door: Door, path: str = EVENTS, **query: Any) -> httpx.Response:
    return await door.client.get(path, params=query, headers={"x-api-key": door.key})


async def listed(door: Door, **query: Any) -> list[dict[str, Any]]:
    answer = await get(door, **query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def walk(door: Door, **query: Any) -> list[str]:
    """Return the ids of every page."""
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await get(door, **query, **cursor)).json()
        ids += [event["id"] for event in page["data"]]
        if not page["pagination"]["has_more"]:
            assert page["pagination"]["cursor"] is None
            return ids
        cursor = {"cursor": page["pagination"]["cursor"]}


def pids(events: Sequence[dict[str, Any]]) -> list[int]:
    return [event["pid"] for event in events]


async def test_a_page_walk_over_equal_times_loses_and_repeats_nothing(
    door: Door, host: Host, clock: SetClock
) -> None:
    times = [clock.now() - timedelta(days=n % 3) for n in range(25)]
    said = await host.accepted([call(at=at, seq=n, pid=n) for n, at in enumerate(times)])
    ids = [result["id"] for result in said["results"]]
    assert await walk(door, limit=4) == sorted(ids, reverse=True)
    by_position = [result["id"] for result in sorted(said["results"], key=lambda r: r["index"])]
    for n in range(5):
        await host.accepted([call("write", seq=100 + n, pid=7)])
    found = await walk(door, limit=2, process_id="web-1:7")
    assert found[0] == by_position[7]
    assert len(found) == len(set(found)) == 6


async def test_inserts_between_pages_disturb_nothing(door: Door, host: Host, clock: SetClock) -> None:
    await host.accepted([call(at=clock.now() - timedelta(seconds=n), seq=n) for n in range(10)])
    first = (await get(door, limit=5)).json()
    await host.accepted([call(at=clock.now() + timedelta(seconds=n), seq=50 + n) for n in range(5)])
    second = (await get(door, limit=5, cursor=first["pagination"]["cursor"])).json()
    ids = [event["id"] for event in first["data"] + second["data"]]
    assert len(set(ids)) == 10
    assert ids == sorted(ids, reverse=True)


async def test_filters(door: Door, host: Host, clock: SetClock) -> None:
    now = clock.now()
    await host.accepted(
        [
            call("read", now - timedelta(hours=3), seq=5, pid=1),
            call("write", now - timedelta(hours=2), seq=6, pid=2),
            call("close", now - timedelta(hours=1), seq=7, pid=3, start=36),
            {"pid": 4, "kind": "exit", "timestamp": now.isoformat(), "seq": 8},
        ]
    )
    await host.accepted([call("read", now, seq=1, pid=9)])
    await Host(door.client, door.key, id="web-2").accepted([call(at=now, pid=8)])
    assert sorted(pids(await listed(door))) == [1, 2, 3, 4, 8, 9]
    assert sorted(pids(await listed(door, agent_id="web-1"))) == [1, 2, 3, 4, 9]
    assert pids(await listed(door, pid=2)) == [2]
    assert sorted(pids(await listed(door, syscall=["write", "close"]))) == [2, 3]
    assert pids(await listed(door, kind="exit")) == [4]
    assert pids(await listed(door, late="true")) == [9]
    assert 9 not in pids(await listed(door, late="false"))
    since, until = (now - timedelta(hours=2)).isoformat(), (now - timedelta(hours=1)).isoformat()
    assert pids(await listed(door, since=since, until=until)) == [2]
    assert pids(await listed(door, process_id="web-1:3:10")) == [3]
    assert pids(await listed(door, process_id="web-1:3")) == [3]
    assert await listed(door, process_id="web-1:3", agent_id="web-2") == []
    assert await listed(door, process_id="web-1:3", pid=4) == []
    assert await listed(door, agent_id="nobody") == []


async def test_the_shape_keeps_the_oldest_members(door: Door, host: Host, clock: SetClock) -> None:
    await host.accepted([call("read", clock.now(), seq=1, start=35, metadata={"a": 1})])
    (event,) = await listed(door)
    assert {n: event[n] for n in ("agent_id", "process_id", "pid", "syscall", "metadata")} == {
        "agent_id": "web-1", "process_id": "web-1:100:z", "pid": 100, "syscall": "read", "metadata": {"a": 1},
    }  # fmt: skip
    assert event["timestamp"] == clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert (event["family"], event["position"], event["late"], event["untimed"]) == ("host", 1, False, False)


async def test_one_event_by_either_spelling_of_its_id(door: Door, host: Host, clock: SetClock) -> None:
    said = await host.accepted([call(at=clock.now(), seq=1)])
    name = said["results"][0]["id"]
    dashed = f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
    for spelling in (name, dashed, name.upper()):
        answer = await get(door, f"{EVENTS}/{spelling}")
        assert (answer.status_code, answer.json()["id"]) == (200, name)


@pytest.mark.parametrize(
    "name",
    ["x", "0" * 32, "f" * 32, "e677d21fdbff" + "7" + "0" * 19, "e677d21fdc00" + "7" + "0" * 19, "0" * 31],
)
async def test_an_unknown_event_is_not_found(door: Door, name: str) -> None:
    answer = await get(door, f"{EVENTS}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": 1001}, 422),
        ({"limit": "ten"}, 422),
        ({"pid": -1}, 422),
        ({"kind": "dance"}, 422),
        ({"since": "yesterday"}, 422),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
        ({"sysscall": "read"}, 422),
        ({"cursor": "c1.x.y"}, 400),
        ({"process_id": "nonsense"}, 404),
        ({"process_id": "a:1:zzzzzzzzzzzzz"}, 404),
        ({"agent_id": "\0"}, 422),
        ({"process_id": "a\0:1"}, 422),
        ({"syscall": "\0"}, 422),
    ],
)
async def test_bad_queries_are_refused(door: Door, query: dict[str, Any], status: int) -> None:
    answer = await get(door, **query)
    assert answer.status_code == status, answer.text


async def test_a_cursor_belongs_to_its_filters_and_its_tenant(
    door: Door, host: Host, resources: Resources, database: Clone
) -> None:
    await host.accepted([call(seq=n) for n in range(3)])
    cursor = (await get(door, limit=1)).json()["pagination"]["cursor"]
    assert (await get(door, limit=2, cursor=cursor)).status_code == 200
    assert (await get(door, limit=1, cursor=cursor, pid=1)).json()["reason"] == "filters_changed"
    async with open_door(resources, database.superuser_url, slug="other") as other:
        answer = await get(other, limit=1, cursor=cursor)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_another_tenant_sees_nothing_and_learns_nothing(
    host: Host, resources: Resources, database: Clone
) -> None:
    said = await host.accepted([call(seq=1)])
    name = said["results"][0]["id"]
    async with open_door(resources, database.superuser_url, slug="other") as other:
        assert await listed(other) == []
        assert await listed(other, agent_id="web-1") == []
        assert await listed(other, process_id="web-1:100") == []
        theirs, unknown = await get(other, f"{EVENTS}/{name}"), await get(other, f"{EVENTS}/{name[:-1]}0")
        assert theirs.status_code == unknown.status_code == 404
        assert {**theirs.json(), "instance": "", "correlation_id": ""} == {
            **unknown.json(),
            "instance": "",
            "correlation_id": "",
        }
