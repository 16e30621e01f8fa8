"""What was judged is written behind the answer, reads back as it was answered, and tells nothing of the text."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from guardhouse.detections import record as record_file
from guardhouse.detections.feedback.jobs import prune_feedback
from guardhouse.detections.policies.in_force import Policies
from guardhouse.detections.policy import DEFAULT, Policy
from guardhouse.detections.records import jobs, waiting
from guardhouse.detections.records import write as write_file
from guardhouse.detections.records.figures import NOT_RECORDED
from guardhouse.detections.records.jobs import keep_records
from guardhouse.detections.records.write import Entry
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import id_at, new_id, time_of
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from server.tests.components.door_at_noon import clock, resources
from server.tests.components.opened import add_tenant
from server.tests.detections.recorded_door import ATTACK, DETECT, desk_of, door, get, judged, written
from server.tests.ingest.make import Door

__all__ = ["clock", "door", "resources"]

MARK = "zanzibar-marker"


def put_in_force(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    async def in_force(*_asked: Any) -> Policy:
        return msgspec.structs.replace(DEFAULT, **changes)

    monkeypatch.setattr(Policies, "in_force", in_force)


async def test_a_record_reads_back_as_answered_without_excerpts(door: Door) -> None:
    asked = {
        "text": f"{MARK}. {ATTACK}",
        "context": {"agent_id": "bot", "session_id": "s\0"},
        "metadata": {"text": "mine"},
        "config": {"explain": True, "sanitize": True},
    }
    answered = await judged(door, asked)
    found = await get(door, f"/api/v1/detect/{answered['id']}")
    assert found.status_code == 200, found.text
    kept = found.json()
    for name in ("explain", "sanitized_text"):
        del answered[name]
    for one in answered["reasons"]:
        del one["text"]
    answered["context"]["session_id"] = "s\ufffd"
    assert kept.pop("text_length") == len(asked["text"])
    assert kept.pop("key").startswith("key:")
    assert kept == answered
    assert kept["metadata"] == {"text": "mine"}
    (row,) = await door.rows("SELECT to_jsonb(d)::text AS row, rest, text_hmac FROM detections d")
    assert MARK not in row["row"]
    assert MARK.encode() not in row["rest"]
    assert len(row["text_hmac"]) == 32
    assert await door.count("detection_texts") == 0


async def test_a_text_is_kept_where_the_policy_says_so(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_force(monkeypatch, store_text=True)
    answered = await judged(door, {"text": f"{MARK}\0\u200b"})
    kept = (await get(door, f"/api/v1/detect/{answered['id']}")).json()
    assert kept["text"] == f"{MARK}\0\u200b"


async def test_equal_texts_look_equal_within_a_tenant_only(door: Door) -> None:
    _, other = await add_tenant(door.resources, "other")
    for key in (door.key, door.key, other):
        assert (await door.post(DETECT, {"text": "Hello"}, x_api_key=key)).status_code == 200
    await written(door, 3)
    rows = await door.rows("SELECT text_hmac FROM detections ORDER BY tenant_id")
    assert len(rows) == 3
    assert len({row["text_hmac"] for row in rows}) == 2


async def test_who_may_not_see_it_finds_nothing(door: Door) -> None:
    answered = await judged(door, {"text": "Hello"})
    _, other = await add_tenant(door.resources, "other")
    path = f"/api/v1/detect/{answered['id']}"
    assert (await get(door, path)).status_code == 200
    assert (await get(door, path, other)).json()["code"] == "not_found"
    assert (await get(door, "/api/v1/detections", other)).json()["data"] == []
    assert (await get(door, f"/api/v1/detect/{new_id()}")).json()["code"] == "not_found"
    assert (await get(door, f"/api/v1/detect/{UUID(int=7)}")).json()["code"] == "not_found"


async def test_what_is_past_its_retention_is_gone(
    door: Door, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force(monkeypatch, retention_days=2, store_text=True)
    short = await judged(door, {"text": "Hello"})
    put_in_force(monkeypatch)
    usual = await judged(door, {"text": "Hello again"})
    clock.move(1)
    put_in_force(monkeypatch, retention_days=40)
    long = await judged(door, {"text": "Hello for long"})
    await written(door, 3)
    clock.move(timedelta(days=3).total_seconds())
    assert (await get(door, f"/api/v1/detect/{short['id']}")).status_code == 404
    assert [one["id"] for one in (await get(door, "/api/v1/detections")).json()["data"]] == [
        long["id"],
        usual["id"],
    ]
    await _keep(door)
    assert (await door.count("detections"), await door.count("detection_texts")) == (2, 0)
    clock.move(timedelta(days=30).total_seconds())
    gone = await get(door, f"/api/v1/detect/{usual['id']}")
    assert (gone.status_code, gone.json()["code"]) == (410, "detection_gone")
    await _keep(door)
    assert (await get(door, f"/api/v1/detect/{long['id']}")).status_code == 200
    clock.move(timedelta(days=8).total_seconds())
    await _keep(door)
    assert await door.count("detections") == 0


async def test_what_a_shorter_retention_took_is_gone_and_the_words_on_it(door: Door, clock: SetClock) -> None:
    made = await door.post("/api/v1/policies", {"name": "short", "retention_days": 2})
    assert made.status_code == 201, made.text
    path = f"/api/v1/detect/{(await judged(door, {'text': 'Hello', 'policy': made.json()['id']}))['id']}"
    usual = f"/api/v1/detect/{(await judged(door, {'text': 'Hello'}))['id']}"
    await written(door, 2)
    for place in (path, usual):
        given = await door.post(f"{place}/feedback", {"label": "benign", "submit_text": "Hello"})
        assert given.status_code == 201, given.text
    clock.move(timedelta(days=3).total_seconds())
    assert (await get(door, path)).json()["code"] == "detection_gone"
    assert (await door.post(f"{path}/feedback", {"label": "benign"})).status_code == 410
    assert (await get(door, usual)).status_code == 200
    assert (await get(door, f"/api/v1/detect/{id_at(clock.now())}")).status_code == 404
    await _keep(door)
    await prune_feedback.handler(_context(door), None)
    (kept,) = await door.rows("SELECT detection_id FROM detection_feedback")
    assert usual.endswith(str(kept["detection_id"]))


async def test_the_list_is_filtered_and_paged(door: Door, clock: SetClock) -> None:
    made = []
    for text, more in (
        (ATTACK, {"context": {"agent_id": "a", "session_id": "s"}}),
        ("Hello there", {}),
        ("Opening hours are nine to five.", {"channel": "external"}),
    ):
        made.append(await judged(door, {"text": text, **more}))
        clock.move(1)
    attack, hello, hours = (one["id"] for one in made)
    await written(door, 3)

    async def ids(**query: Any) -> list[str]:
        answer = await get(door, "/api/v1/detections", **query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert await ids() == [hours, hello, attack]
    assert await ids(decision="block") == [attack]
    assert await ids(channel="external") == [hours]
    assert await ids(engine="embedded", degraded="false", policy=made[0]["policy"]) == [hours, hello, attack]
    assert await ids(degraded="true") == []
    assert await ids(min_score=0.5) == [attack]
    assert await ids(agent_id="a", session_id="s") == [attack]
    assert await ids(threat_type="injection") == [attack]
    assert await ids(threat_type="delimiter_attack") == []
    assert await ids(since=made[1]["created_at"]) == [hours, hello]
    assert await ids(until=made[1]["created_at"]) == [attack]
    key = (await get(door, "/api/v1/me")).json()["credential_id"]
    assert await ids(key=key) == [hours, hello, attack]
    assert await ids(key=str(new_id())) == []
    first = (await get(door, "/api/v1/detections", limit=2)).json()
    assert [one["id"] for one in first["data"]] == [hours, hello]
    assert await ids(limit=2, cursor=first["pagination"]["cursor"]) == [attack]
    assert (await get(door, "/api/v1/detections", decision="maybe")).status_code == 422


async def test_full_of_records_that_cannot_bewritten(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 0)
    before = NOT_RECORDED._value.get()
    assert (await judged(door, {"text": "Hello"}))["warnings"] == ["not_recorded"]
    put_in_force(monkeypatch, record="durable")
    refused = await door.post(DETECT, {"text": "Hello"})
    assert (refused.status_code, refused.json()["code"]) == (503, "not_recorded")
    assert NOT_RECORDED._value.get() == before + 2
    assert await door.count("detections") == 0


async def test_durable_waits_for_its_commit(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_force(monkeypatch, record="durable")
    monkeypatch.setattr(jobs, "GATHER_SECONDS", 3600)
    for number in range(1, 4):
        await judged(door, {"text": "Hello"})
        assert await door.count("detections") == number


async def test_while_the_database_is_away_verdicts_are_given(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = True
    write = write_file.write

    async def write_or_not(*args: Any) -> Any:
        if away:
            raise DatabaseAway("away")
        return await write(*args)

    monkeypatch.setattr(jobs, "write", write_or_not)
    buffered = await judged(door, {"text": "Hello"})
    assert buffered["warnings"] == []
    put_in_force(monkeypatch, record="durable")
    assert (await door.post(DETECT, {"text": "Hello durable"})).status_code == 503
    away = False
    await written(door, 1)
    assert [row["id"] for row in await door.rows("SELECT id FROM detections")] == [UUID(buffered["id"])]


async def test_one_record_that_cannot_be_stored_takes_none_with_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_of = record_file.entry_of

    def spoilt(*args: Any) -> Entry:
        made = entry_of(*args)
        return (
            replace(made, record=made.record._replace(tier="a\0b")) if made.record.text_length == 6 else made
        )

    monkeypatch.setattr(record_file, "entry_of", spoilt)
    monkeypatch.setattr(jobs, "GATHER_SECONDS", 0.3)
    before = NOT_RECORDED._value.get()
    await asyncio.gather(*(judged(door, {"text": text}) for text in ("one", "spoilt", "two")))
    await written(door, 2)
    assert NOT_RECORDED._value.get() == before + 1


async def test_what_a_lost_answer_to_commit_left_is_not_written_twice(door: Door) -> None:
    await judged(door, {"text": "Hello"})
    await written(door, 1)
    store = desk_of(door).records
    answered = await judged(door, {"text": "Hello again"})
    (pair,) = store.take()
    writer = jobs.Writer(door.resources, store)
    for _ in range(2):
        store.give_back([pair])
        await writer.finish()
    rows = await door.rows("SELECT id FROM detections ORDER BY id")
    assert len(rows) == 2
    assert UUID(answered["id"]) in {row["id"] for row in rows}


async def test_the_end_of_a_process_loses_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GATHER_SECONDS", 3600)
    async with jobs.keep(door.resources, waiting.Waiting()):
        pass  # nothing waits: nothing happens
    records = waiting.Waiting()
    async with jobs.keep(door.resources, records):
        answered = await judged(door, {"text": "Hello"})
        for entry, stored in desk_of(door).records.take():
            records.add(entry, stored)
        assert await door.count("detections") == 0
    assert [row["id"] for row in await door.rows("SELECT id FROM detections")] == [UUID(answered["id"])]


async def test_a_call_under_a_key_happens_once(door: Door) -> None:
    first = await door.post(DETECT, {"text": "Hello"}, idempotency_key="k-1")
    again = await door.post(DETECT, {"text": "Hello"}, idempotency_key="k-1")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert (await door.post(DETECT, {"text": "Hullo"}, idempotency_key="k-1")).json()[
        "code"
    ] == "idempotency_key_reused"
    await written(door, 1)
    assert await door.count("detections") == 1


def test_an_id_says_when_it_was_made(clock: SetClock) -> None:
    found = time_of(id_at(clock.now()))
    assert found == clock.now().replace(microsecond=clock.now().microsecond // 1000 * 1000)
    assert time_of(UUID(int=7)) is None
    assert id_at(clock.now()) != id_at(clock.now())


async def _keep(door: Door) -> None:
    await keep_records.handler(_context(door), None)


def _context(door: Door) -> JobContext:
    job = ClaimedJob(1, "detections.keep_records", "null", None, "platform", 1, 0, door.now, "test")
    return JobContext(door.resources, job)
