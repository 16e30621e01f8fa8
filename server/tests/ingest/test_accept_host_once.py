"""The same events, however often and in whatever pieces they come: stored exactly once, counted truly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import httpx
import pytest
import pytest_asyncio

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components import api
from server.tests.components.hosts import EVENTS, Host, call, noon
from server.tests.components.opened import opened
from server.tests.ingest.gapless import check_gapless, numbered
from server.tests.ingest.make import Door


@pytest.fixture
def clock() -> SetClock:
    return noon()


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=clock) as found:
        yield found


@pytest.fixture
def host(door: Door) -> Host:
    return Host(door.client, door.key, members={"stream": "s", "boot_id": "b", "alphabet": "native.v1"})


# Exactly once.


async def test_the_same_events_however_they_come_are_stored_once(
    door: Door, host: Host, clock: SetClock
) -> None:
    events = numbered(clock.now(), range(100))
    await host.accepted(events)
    whole = (await host.send(events)).json()
    assert (whole["accepted"], whole["duplicates"], whole["position"]) == (0, 100, 100)
    duplicates = 0
    for begin in range(0, 100, 7):
        duplicates += (await host.send(events[begin : begin + 7])).json()["duplicates"]
    assert duplicates == 100
    mixed = (await host.send(numbered(clock.now(), range(95, 105)))).json()
    assert (mixed["accepted"], mixed["duplicates"]) == (5, 5)
    assert [r["status"] for r in mixed["results"]] == ["duplicate"] * 5 + ["accepted"] * 5
    await check_gapless(door, 105)
    (stream,) = await door.rows("SELECT low_seq, high_seq, received, seq_reused FROM agent_streams")
    assert tuple(stream) == (0, 104, 105, False)


async def test_a_copy_inside_one_batch_is_a_duplicate_unless_nothing_tells_it(
    door: Door, host: Host, clock: SetClock
) -> None:
    same = call(at=clock.now(), seq=1)
    assert [r["status"] for r in (await host.send([same, same])).json()["results"]] == [
        "accepted",
        "duplicate",
    ]
    nameless = call(at=clock.now())
    assert (await host.send([nameless, nameless])).json()["accepted"] == 2
    await check_gapless(door, 3)


async def test_one_key_on_two_connections_is_one_batch(door: Door, host: Host, clock: SetClock) -> None:
    for number in range(5):
        events = numbered(clock.now(), range(number * 10, number * 10 + 10))
        answers = await asyncio.gather(*(host.send(events, key=f"k{number}") for _ in range(4)))
        taken = [a for a in answers if a.status_code == 207]
        assert len({a.content for a in taken}) == 1
        assert {a.json()["code"] for a in answers if a.status_code != 207} <= {"idempotency_in_progress"}
        assert taken[0].json()["accepted"] == 10
    await check_gapless(door, 50)


async def test_the_same_events_at_once_under_different_keys(door: Door, host: Host, clock: SetClock) -> None:
    for number in range(5):
        events = numbered(clock.now(), range(number * 10, number * 10 + 10))
        answers = [a.json() for a in await asyncio.gather(*(host.send(events) for _ in range(4)))]
        assert sum(a["accepted"] for a in answers) == 10
        assert sum(a["duplicates"] for a in answers) == 30
    await check_gapless(door, 50)


async def test_batches_of_one_agent_at_once_take_positions_without_gaps(
    door: Door, host: Host, clock: SetClock
) -> None:
    host.members = {}
    answers = await asyncio.gather(*(host.send([call(at=clock.now())] * n) for n in range(1, 9)))
    assert [a.json()["accepted"] for a in answers] == list(range(1, 9))
    assert max(a.json()["position"] for a in answers) == 36
    await check_gapless(door, 36)


async def test_an_agent_met_first_on_several_connections_is_one_agent(door: Door) -> None:
    hosts = [Host(door.client, door.key, id="new", sent=10 * n) for n in range(6)]
    answers = await asyncio.gather(*(host.send([call()]) for host in hosts))
    assert [a.status_code for a in answers] == [207] * 6
    assert await door.count("host_agents") == 1
    await check_gapless(door, 6)


async def test_a_client_that_goes_before_its_answer_and_comes_back(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    draw = Random(7)
    async with api.served(resources) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        again = Host(client, door.key)
        for number in range(12):
            body = host.body(numbered(clock.now(), range(number * 50, number * 50 + 50)))
            await _send_and_leave(url, door.key, f"k{number}", body, draw)
            answer = await again.send(body, key=f"k{number}")
            while answer.status_code == 409:
                await asyncio.sleep(0.01)
                answer = await again.send(body, key=f"k{number}")
            assert (answer.status_code, answer.json()["accepted"]) == (207, 50)
    await check_gapless(door, 600)


async def _send_and_leave(url: str, key: str, name: str, body: bytes, draw: Random) -> None:
    """Send a request, or a part of it, and break the connection at some moment before the answer is read."""
    port = int(url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {EVENTS} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
        f"guardhouse-family: host\r\nidempotency-key: {name}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    writer.write(request if draw.random() < 0.7 else request[: draw.randrange(len(request))])
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    await asyncio.sleep(draw.random() * 0.03)
    writer.transport.abort()
