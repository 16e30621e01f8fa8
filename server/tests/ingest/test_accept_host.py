"""A host batch through the whole door and into the database: counted truly, stored exactly once."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import zstandard

from guardhouse.agents import enroll_host
from guardhouse.agents.enroll_host import IssuedKey, NewHost
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import DatabaseAway, Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.wait import Backlog, IngestBacklogged
from server.tests.components import api
from server.tests.components.hosts import EVENTS, Host, call, make_days, noon, score_everything
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.identity.make import signed_request
from server.tests.ingest.gapless import check_gapless, numbered
from server.tests.ingest.make import Door, open_door


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


# The answer.


async def test_the_answer_names_every_item(door: Door, host: Host, clock: SetClock) -> None:
    answer = await host.send([call(at=clock.now(), seq=1), {"pid": -4, "syscall": "read"}, call(seq=2)])
    said = answer.json()
    assert answer.status_code == 207
    assert (said["accepted"], said["duplicates"], said["errors"], said["position"]) == (2, 0, 1, 2)
    assert [(r["index"], r["status"]) for r in said["results"]] == [
        (0, "accepted"),
        (1, "error"),
        (2, "accepted"),
    ]
    assert said["results"][1]["id"] is None
    assert said["results"][1]["error"]["code"] == "event_invalid"
    assert said["results"][1]["error"]["field"] == "pid"
    ids = {row[0].hex for row in await door.rows("SELECT event_id FROM process_events")}
    assert ids == {said["results"][0]["id"], said["results"][2]["id"]}
    assert "scores" not in said


async def test_an_answer_is_207_even_when_nothing_is_good(door: Door, host: Host) -> None:
    answer = await host.send([{"pid": -1}])
    assert answer.status_code == 207
    assert (answer.json()["accepted"], answer.json()["errors"], answer.json()["position"]) == (0, 1, 0)
    assert await door.count("process_events") == 0


async def test_the_oldest_shape_is_enough(door: Door) -> None:
    answer = await door.events(
        {"agent_id": "old", "events": [{"pid": 1234, "syscall": "execve"}]}, idempotency_key="k"
    )
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
    (row,) = await door.rows("SELECT pid, call, fields, flags FROM process_events")
    assert tuple(row) == (1234, "execve", None, 4)


async def test_compressed_bodies_and_ndjson(door: Door, host: Host, clock: SetClock) -> None:
    body = zstandard.compress(host.body(numbered(clock.now(), range(3))))
    assert (await host.send(body, content_encoding="zstd")).json()["accepted"] == 3
    lines = b"\n".join(json.dumps(event).encode() for event in numbered(clock.now(), range(3, 6)))
    url = f"{EVENTS}?agent_id=web-1&stream=s&boot_id=b"
    answer = await door.post(url, lines, content_type="application/x-ndjson", idempotency_key="nd")
    assert (answer.status_code, answer.json()["accepted"]) == (207, 3)
    await check_gapless(door, 6)


@pytest.mark.parametrize("wait", ["x", "-1", "", "1.5"])
async def test_a_preference_that_is_none_is_passed_over(host: Host, wait: str) -> None:
    answer = await host.send([call()], prefer=f"wait={wait}")
    assert (answer.status_code, "scores" in answer.json()) == (207, False)
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("digits", ["0", "1", "9" * 5000])
async def test_waiting_for_scores_ends_with_what_there_is(host: Host, digits: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("guardhouse.ingest.take_batch.MAX_WAIT_SECONDS", 0.2)
    answer = await host.send([call()], prefer=f"wait={digits}")
    assert answer.status_code == 207
    assert answer.json()["scores"] == []
    assert "preference-applied" not in answer.headers


async def test_waiting_brings_the_scores_of_this_batch(door: Door, host: Host, resources: Resources) -> None:
    await make_days(resources)
    await host.accepted([call(pid=99)])
    sending = asyncio.create_task(
        host.send([call("execve"), call("socket", pid=7)], prefer='return=minimal, Wait="5"')
    )
    while await door.count("process_events") < 3:
        await asyncio.sleep(0.01)
    await score_everything(resources)
    answer = await sending
    assert answer.headers["preference-applied"] == "return=minimal, wait=5"
    assert {(s["process_id"], s["risk_score"]) for s in answer.json()["scores"]} == {
        ("web-1:100", 50),
        ("web-1:7", 20),
    }
    assert answer.json()["results"] == []


async def test_a_batch_with_nothing_to_score_does_not_wait(host: Host) -> None:
    answer = await host.send([{"pid": -1}], prefer="wait=5")
    assert answer.headers["preference-applied"] == "wait=5"


async def test_scores_that_cannot_be_read_do_not_take_the_answer_back(
    door: Door, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_args: Any) -> bool:
        raise DatabaseAway("gone")

    monkeypatch.setattr("guardhouse.ingest.take_batch.scored_up_to", unavailable)
    answer = await host.send([call()], prefer="wait=1")
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1)
    assert await door.count("process_events") == 1


# Order and time.


async def test_late_events_are_taken_and_marked(door: Door, host: Host, clock: SetClock) -> None:
    await host.accepted(numbered(clock.now(), [5, 6]))
    await host.accepted(numbered(clock.now(), [7, 2]))
    rows = await door.rows("SELECT position, flags & 1 AS late FROM process_events ORDER BY position")
    assert [tuple(row) for row in rows] == [(1, 0), (2, 0), (3, 1), (4, 0)]
    (stream,) = await door.rows("SELECT low_seq, high_seq, received, seq_reused FROM agent_streams")
    assert tuple(stream) == (2, 7, 4, False)


async def test_gaps_are_counted_until_filled(door: Door, host: Host, clock: SetClock) -> None:
    async def missing() -> int:
        agent = (await door.client.get("/api/v1/agents/web-1", headers={"x-api-key": door.key})).json()
        return int(agent["streams"][0]["missing"])

    await host.accepted(numbered(clock.now(), [1, 2, 10]))
    assert await missing() == 7
    await host.accepted(numbered(clock.now(), range(3, 10)))
    assert await missing() == 0


async def test_numbers_that_start_again_in_one_stream_are_told(
    door: Door, host: Host, clock: SetClock
) -> None:
    await host.accepted(numbered(clock.now(), [1, 2, 3]))
    await host.accepted(numbered(clock.now() + timedelta(seconds=9), [1, 2, 3]))
    (stream,) = await door.rows("SELECT received, seq_reused FROM agent_streams")
    assert tuple(stream) == (6, True)


async def test_the_widest_span_of_numbers_does_not_break_a_stream(
    door: Door, host: Host, clock: SetClock
) -> None:
    ends = [call(at=clock.now(), seq=0), call(at=clock.now(), seq=1 << 62)]
    await host.accepted(ends)
    await host.accepted(numbered(clock.now(), [5]))
    assert (await host.send([call(seq=(1 << 62) + 1)])).json()["errors"] == 1
    await check_gapless(door, 3)


async def test_a_clock_that_is_ahead_is_clamped_and_told(door: Door, host: Host, clock: SetClock) -> None:
    ahead = clock.now() + timedelta(hours=1)
    await host.accepted([call(at=ahead, seq=1), call(at=clock.now(), seq=2)])
    rows = await door.rows("SELECT occurred_at, claimed_at FROM process_events ORDER BY position")
    assert [tuple(row) for row in rows] == [(clock.now(), ahead), (clock.now(), None)]
    (agent,) = await door.rows("SELECT clock_skew_ms, last_seen FROM host_agents")
    assert tuple(agent) == (3_600_000, clock.now())
    await host.accepted([call(seq=3)])  # says no time, so nothing of the clock
    assert await door.behind.fetchval("SELECT clock_skew_ms FROM host_agents") == 3_600_000
    await host.accepted([call(at=clock.now(), seq=4)])
    assert await door.behind.fetchval("SELECT clock_skew_ms FROM host_agents") is None


async def test_a_batch_across_midnight_lies_in_two_days(door: Door, host: Host, clock: SetClock) -> None:
    midnight = clock.now().replace(hour=0)
    times = [midnight - timedelta(microseconds=1), midnight, midnight - timedelta(seconds=1), midnight]
    await host.accepted([call(at=at, seq=n) for n, at in enumerate(times)])
    rows = await door.rows(
        "SELECT position, occurred_at, tableoid::regclass::text FROM process_events ORDER BY 1"
    )
    assert [row[1] for row in rows] == times
    assert [row[2][-2:] for row in rows] == [f"{at:%d}" for at in times]
    again = (await host.send([call(at=at, seq=n) for n, at in enumerate(times)])).json()
    assert (again["accepted"], again["duplicates"]) == (0, 4)


async def test_a_missing_day_is_made_on_the_way(door: Door, host: Host, clock: SetClock) -> None:
    days = [clock.now().date(), clock.now().date() - timedelta(days=3)]
    for day in days:
        await door.behind.execute("SELECT guardhouse_drop_day('process_events', $1)", day)
    await host.accepted([call(at=clock.now(), seq=1), call(at=clock.now() - timedelta(days=3), seq=2)])
    await check_gapless(door, 2)
    for day in days:
        await door.behind.execute("SELECT guardhouse_drop_day('process_events', $1)", day)
    same = numbered(clock.now(), [7])
    await host.accepted(same)
    await door.behind.execute("SELECT guardhouse_drop_day('process_events', $1)", days[1])
    mixed = [*same, call(at=clock.now() - timedelta(days=3), seq=8)]  # a copy, and then a missing day
    said = (await host.send(mixed)).json()
    assert [r["status"] for r in said["results"]] == ["duplicate", "accepted"]


# Whose it is.


async def test_no_member_of_a_request_names_another_tenant(
    door: Door, host: Host, resources: Resources, database: Clone
) -> None:
    async with open_door(resources, database.superuser_url, slug="other") as other:
        host.members |= {"tenant": "other", "tenant_no": other.tenant.no, "tenant_id": str(other.tenant.id)}
        smuggled = call(tenant_no=other.tenant.no, tenant_id=str(other.tenant.id), agent_no=1)
        named = {"x_tenant_id": str(other.tenant.id), "x_tenant": "other", "guardhouse_tenant": "other"}
        await host.accepted([smuggled], **named)
        same = Host(other.client, other.key, id=host.id, members={"stream": "s"})
        await same.accepted([call(seq=1)])
        await host.accepted([call(seq=1)])
        rows = await door.rows(
            "SELECT e.tenant_no, count(*) FROM process_events e JOIN host_agents a USING (agent_no)"
            " WHERE a.tenant_no = e.tenant_no GROUP BY 1 ORDER BY 1"
        )
        assert sorted(tuple(row) for row in rows) == sorted([(door.tenant.no, 2), (other.tenant.no, 1)])
        for side, count in ((door, 2), (other, 1)):
            page = await side.client.get(EVENTS, headers={"x-api-key": side.key})
            assert len(page.json()["data"]) == count


async def test_a_batch_under_a_key_names_its_agent(door: Door) -> None:
    for agent_id in (None, "", "a b", "../x", "x" * 129, 5):
        answer = await door.events({"agent_id": agent_id, "events": [call()]}, idempotency_key="k")
        assert answer.status_code == 422, agent_id
    assert await door.count("host_agents") == 0
    assert await door.count("process_events") == 0


async def enrol(door: Door) -> IssuedKey:
    async with system_transaction(door.resources.database) as tx:
        _, key = await enroll_host.enroll_host(tx, door.resources, door.tenant, NewHost("web-1"))
    return key


async def send_signed(
    door: Door, issued: IssuedKey, body: bytes, clock: SetClock, nonce: str | None = None
) -> Any:
    secret = base64.urlsafe_b64decode(issued.secret + "=" * (-len(issued.secret) % 4))
    message = signed_request(issued.key_id, secret, now=clock.now(), body=body, nonce=nonce)
    return await door.client.post(EVENTS, content=body, headers=dict(message.headers))


async def test_a_signed_batch_counts_once_and_is_retried_signed_anew(door: Door, clock: SetClock) -> None:
    issued = await enrol(door)
    body = json.dumps({"events": [call()]}).encode()
    first = await send_signed(door, issued, body, clock, nonce="n" * 20)
    assert (first.status_code, first.json()["accepted"]) == (207, 1)
    stolen = await send_signed(door, issued, body, clock, nonce="n" * 20)
    assert (stolen.status_code, stolen.json()["code"]) == (401, "unauthorized")
    again = await send_signed(door, issued, body, clock)
    assert (again.status_code, again.headers["idempotency-replayed"], again.content) == (
        207,
        "true",
        first.content,
    )
    assert await door.count("process_events") == 1


async def test_a_signed_batch_may_not_speak_for_another_agent(door: Door, clock: SetClock) -> None:
    issued = await enrol(door)
    body = json.dumps({"agent_id": "web-2", "events": [call()]}).encode()
    answer = await send_signed(door, issued, body, clock)
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_mismatch")
    own = await send_signed(
        door, issued, json.dumps({"agent_id": "web-1", "events": [call()]}).encode(), clock
    )
    assert own.status_code == 207


async def test_the_events_of_a_deleted_agent_stay_and_its_id_begins_anew(
    door: Door, host: Host, clock: SetClock
) -> None:
    await host.accepted(numbered(clock.now(), [1, 2]))
    gone = await door.client.delete("/api/v1/agents/web-1", headers={"x-api-key": door.key})
    assert gone.status_code in {200, 204}
    said = (await host.send(numbered(clock.now(), [2, 3]))).json()
    assert [r["status"] for r in said["results"]] == ["duplicate", "accepted"]
    await check_gapless(door, 3)


# Trouble.


async def test_a_database_that_goes_away_in_between_leaves_nothing_half(
    door: Door, host: Host, clock: SetClock
) -> None:
    await host.accepted(numbered(clock.now(), [0]))
    async with door.behind.transaction():
        await door.behind.execute("SELECT 1 FROM host_agents FOR UPDATE")
        sending = asyncio.create_task(host.send(numbered(clock.now(), range(1, 9)), key="k"))
        await _end_who_waits(door.behind)
        answer = await sending
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await door.count("process_events") == 1
    assert await door.count("ingest_batches") == 1
    again = (await host.send(numbered(clock.now(), range(1, 9)), key="k")).json()
    assert again["accepted"] == 8
    await check_gapless(door, 9)


async def _end_who_waits(behind: "asyncpg.Connection[asyncpg.Record]") -> None:
    """End the backend that waits for a lock of ours, as a crash of it would."""
    while not await behind.fetchval(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    ):
        await asyncio.sleep(0.01)


async def test_a_commit_whose_answer_is_lost_is_answered_by_the_retry(
    door: Door, host: Host, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: committed, and the connection breaks before PostgreSQL's word arrives."""
    real = Tx.run

    async def run(self: Tx, sql: str, *args: object) -> str:
        tag = await real(self, sql, *args)
        if "pg_notify('score'" in sql:
            await real(self, "COMMIT")
            raise asyncpg.ConnectionDoesNotExistError
        return tag

    monkeypatch.setattr(Tx, "run", run)
    lost = await host.send(numbered(clock.now(), range(5)), key="k")
    monkeypatch.undo()
    assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
    again = await host.send(numbered(clock.now(), range(5)), key="k")
    assert (again.headers["idempotency-replayed"], again.json()["accepted"]) == ("true", 5)
    await check_gapless(door, 5)


async def test_while_too_much_waits_for_scoring_intake_says_so(
    database_url: str, database: Clone, tmp_path: Path, clock: SetClock
) -> None:
    async with opened(database_url, tmp_path, clock=clock, ingest_backlog_events=1000) as resources:
        async with open_door(resources, database.superuser_url) as door:
            host = Host(door.client, door.key)
            await host.accepted([call()] * 1001)
            async with api.client_of(resources) as client:
                answer = await Host(client, door.key, sent=9).send([call()])
            assert (answer.status_code, answer.json()["code"]) == (503, "ingest_backlogged")
            assert int(answer.headers["retry-after"]) >= 1
            assert await door.count("process_events") == 1001
        with pytest.raises(IngestBacklogged):
            await Backlog(resources).check()
        await make_days(resources)
        await score_everything(resources)
        await Backlog(resources).check()
