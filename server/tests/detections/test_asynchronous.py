"""Texts for the worker: taken whole or not at all, judged once, told to whoever asked, forgotten."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from guardhouse.detections.asynchronous import jobs, judge_inputs
from guardhouse.detections.asynchronous.packed import pack
from guardhouse.detections.asynchronous.worker_desk import keep_desk
from guardhouse.detections.conversations.detect_input import detect_input
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks import jobs as webhook_jobs
from guardhouse.webhooks.turning import jobs as turning_jobs
from guardhouse.worker.registry import LongLoop
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import Receiver, answer, receiving
from server.tests.detections.recorded_door import ATTACK, door, get, judged
from server.tests.ingest.make import Door
from server.tests.webhooks.make import OPEN_LOOPBACK
from server.tests.worker.make import eventually, working

__all__ = ["door"]

ASYNC, BATCH = "/api/v1/detect/async", "/api/v1/detect/batch"
MARK = "zanzibar-marker"
LOOPS = (
    LongLoop("detection_desk", keep_desk),
    LongLoop("webhook_fan_out", turning_jobs.turn_notices),
    LongLoop("webhook_deliver", webhook_jobs.deliver),
)


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, egress_allow=OPEN_LOOPBACK) as found:
        yield found


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(answer(200)) as found:
        yield found


async def ended(door: Door, path: str) -> dict[str, Any]:
    """Wait until something has ended, and return it."""
    found: dict[str, Any] = {}

    async def over() -> bool:
        found.clear()
        found.update((await get(door, path)).json())
        return found.get("status") in {"completed", "failed"}

    await eventually(over)
    return found


async def test_a_verdict_is_stored_and_delivered_signed(door: Door, receiver: Receiver) -> None:
    asked = {"text": f"{MARK} {ATTACK}", "metadata": {"user": 1}, "webhook_url": receiver.url("/done")}
    taken = await door.post(ASYNC, asked)
    body = taken.json()
    assert (taken.status_code, body["status"], taken.headers["retry-after"]) == (202, "queued", "1")
    assert body["request_id"] == body["id"]
    assert taken.headers["location"] == body["status_url"]
    assert body["estimated_completion_seconds"] >= 1
    path = f"/api/v1/detect/{body['id']}"
    assert (await get(door, path)).json()["status"] == "queued"
    async with working(door.resources, jobs.judge, loops=LOOPS):
        found = await ended(door, path)
        (request,) = await receiver.wait_for(1)
    assert (found["id"], found["decision"]) == (body["id"], "block")
    secret = (await get(door, "/api/v1/webhooks/adhoc-secret")).json()["secret"]
    told = Webhook(secret).verify(request.body, request.headers)
    assert told["type"] == request.headers["x-event-type"] == "detection.completed"
    assert told["data"] == found
    assert found["metadata"] == {"user": 1}
    assert MARK not in request.body.decode()
    assert (await door.rows("SELECT packed FROM detection_inputs"))[0]["packed"] is None
    kinds = [row["kind"] for row in await door.rows("SELECT kind FROM notices ORDER BY kind")]
    assert kinds == ["detection.completed", "detection.flagged"]
    dump = [dict(row) for table in ("notices", "jobs", "detections", "detection_inputs", "webhook_messages")
            for row in await door.rows(f"SELECT * FROM {table}")]  # fmt: skip
    assert MARK not in str(dump)


async def test_the_names_of_earlier_products_hear_of_it(door: Door, receiver: Receiver) -> None:
    registered = await door.post(
        "/webhooks/register",
        {"url": receiver.url(), "events": ["detection_complete", "batch_complete", "detection_failed"]},
    )
    assert registered.status_code == 201, registered.text
    one = await judged(door, {"text": "Hello", "metadata": {"user": 1}}, ASYNC)
    many = await judged(door, {"requests": [{"text": "Hi"}]}, BATCH, prefer="respond-async")
    failing = await judged(door, {"text": "Hi"}, ASYNC)
    await door.behind.execute(
        "UPDATE detection_inputs SET packed = $1 WHERE id = $2",
        pack({"text": "Hi", "channel": "gone"}),
        failing["id"],
    )
    async with working(door.resources, jobs.judge, loops=LOOPS):
        requests = await receiver.wait_for(3)
    told = {body["event"]: body for body in (json.loads(request.body) for request in requests)}
    assert set(told) == {"detection_complete", "batch_complete", "detection_failed"}
    assert told["detection_complete"]["request_id"] == one["id"]
    assert told["detection_complete"]["metadata"] == {"user": 1}
    assert told["detection_complete"]["result"]["decision"] == "allow"
    assert told["batch_complete"]["request_id"] == many["id"]
    assert told["batch_complete"]["result"]["successful_count"] == 1
    assert told["detection_failed"]["result"]["error"]["code"] == "unknown_choice"
    failed = (await get(door, f"/api/v1/detect/{failing['id']}")).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "unknown_choice")


async def test_a_large_batch_is_judged_in_jobs_of_a_hundred(door: Door, receiver: Receiver) -> None:
    items: list[Any] = [{"id": f"i{number}", "text": "Hello there"} for number in range(250)]
    items[3], items[4] = {"id": "attack", "text": ATTACK}, {"id": "bad", "text": ""}
    taken = await door.post(BATCH, {"requests": items, "webhook_url": receiver.url()})
    assert (taken.status_code, taken.json()["total"]) == (202, 250), taken.text
    assert len(await door.rows("SELECT FROM jobs WHERE name = 'detections.judge'")) == 3
    path = f"/api/v1/detect/batch/{taken.json()['id']}"
    _, other = await add_tenant(door.resources, "other")
    assert (await get(door, path, other)).status_code == 404
    async with working(door.resources, jobs.judge, loops=LOOPS):
        found = await ended(door, path)
        requests = await receiver.wait_for(1)
    assert (found["total"], found["successful_count"], found["failed_count"]) == (250, 249, 1)
    page = found["items"]
    assert [one["place"] for one in page["data"]] == list(range(100))
    assert page["data"][3]["result"]["decision"] == "block"
    assert page["data"][3]["result"]["request_id"] == "attack"
    assert (page["data"][4]["status"], page["data"][4]["error"]["code"]) == ("failed", "text_empty")
    more = (await get(door, path, cursor=page["pagination"]["cursor"], limit=100)).json()
    assert more["items"]["data"][0]["place"] == 100
    (told,) = [json.loads(request.body) for request in requests]
    assert (told["type"], told["data"]["failed_count"]) == ("detection.batch_completed", 1)


async def test_a_batch_answered_at_once_tells_its_url(door: Door, receiver: Receiver) -> None:
    asked = {"requests": [{"text": "Hello"}, {"text": ""}], "webhook_url": receiver.url()}
    answered = await judged(door, asked, BATCH)
    async with working(door.resources, loops=LOOPS):
        (request,) = await receiver.wait_for(1)
    data = json.loads(request.body)["data"]
    assert (data["id"], data["successful_count"], data["failed_count"]) == (answered["id"], 1, 1)


async def test_a_call_answered_at_once_tells_its_url(door: Door, receiver: Receiver) -> None:
    answered = await judged(door, {"text": "Hello", "webhook_url": receiver.url()})
    async with working(door.resources, loops=LOOPS):
        (request,) = await receiver.wait_for(1)
    assert json.loads(request.body)["data"] == (await get(door, f"/api/v1/detect/{answered['id']}")).json()
    assert (await get(door, "/api/v1/webhooks")).json()["data"] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "https://user@receiver.example/",
        "https://receiver.example/" + "x" * 2_030,
        "ftp://x.example",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/detect", ASYNC])
async def test_a_url_that_is_refused_stops_the_call(door: Door, path: str, url: str) -> None:
    refused = await door.post(path, {"text": "Hello", "webhook_url": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "webhook_url_refused")
    assert refused.json()["errors"][0]["pointer"] == "/webhook_url"
    assert await door.count("detection_inputs") == 0


async def test_somebody_must_hear_of_it(door: Door, receiver: Receiver) -> None:
    refused = await door.post(ASYNC, {"text": "Hello"})
    assert (refused.status_code, refused.json()["code"]) == (422, "nowhere_to_deliver")
    made = await door.post("/api/v1/webhooks", {"url": receiver.url(), "kinds": ["detection.*"]})
    assert made.status_code == 201, made.text
    assert (await door.post(ASYNC, {"text": "Hello"})).status_code == 202
    assert (await door.post(ASYNC, {"text": ""})).json()["code"] == "text_empty"
    assert (await door.post(ASYNC, b"[]")).json()["code"] == "object_expected"


async def test_a_repeat_under_a_key_is_taken_once(door: Door, receiver: Receiver) -> None:
    asked = {"text": "Hello", "webhook_url": receiver.url()}
    first = await judged(door, asked, ASYNC, idempotency_key="k")
    assert await judged(door, asked, ASYNC, idempotency_key="k") == first
    assert await door.count("detection_inputs") == 1


async def test_an_engine_that_fails_is_asked_again_and_then_given_up(
    door: Door, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def failing(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        found = await detect_input(*args)
        return replace(found, judged=replace(found.judged, verdict=None)) if asked <= wrong else found

    monkeypatch.setattr(judge_inputs, "detect_input", failing)
    monkeypatch.setattr(jobs, "PAUSES", (0, 0))
    wrong = 2
    body = {"text": "Hello", "webhook_url": receiver.url()}
    taken = await judged(door, body, ASYNC)
    async with working(door.resources, jobs.judge, loops=LOOPS):
        assert (await ended(door, f"/api/v1/detect/{taken['id']}"))["decision"] == "allow"
        assert asked == 3
        wrong = 99
        taken = await judged(door, body, ASYNC)
        failed = await ended(door, f"/api/v1/detect/{taken['id']}")
        assert (failed["status"], failed["error"]["code"], asked) == ("failed", "engine_failed", 6)
        requests = await receiver.wait_for(2)
    assert json.loads(requests[1].body)["type"] == "detection.failed"


async def test_a_job_that_runs_twice_writes_once(door: Door, receiver: Receiver) -> None:
    taken = await judged(door, {"text": ATTACK, "webhook_url": receiver.url()}, ASYNC)
    await door.behind.execute("INSERT INTO jobs (name, payload, tenant_id, tenant_no, fairness_key, priority, state,"
        " run_at, attempt, failures, correlation_id) SELECT name, payload, tenant_id, tenant_no, fairness_key,"
        " priority, state, run_at, attempt, failures, correlation_id FROM jobs")  # fmt: skip
    async with working(door.resources, jobs.judge, loops=LOOPS):
        await ended(door, f"/api/v1/detect/{taken['id']}")

        async def no_jobs() -> bool:
            return await door.count("jobs") == 0

        await eventually(no_jobs)
    assert await door.count("detections") == 1
    assert len(await door.rows("SELECT FROM notices WHERE kind = 'detection.completed'")) == 1


async def test_what_the_worker_judged_is_in_the_figures(door: Door, receiver: Receiver) -> None:
    one = await judged(door, {"text": ATTACK, "webhook_url": receiver.url()}, ASYNC)
    items = [{"text": ATTACK}, {"text": "Hello there"}, {"text": "Hi", "channel": "external"}, {"text": ""}]
    many = await judged(door, {"requests": items}, BATCH, prefer="respond-async")
    async with working(door.resources, jobs.judge, loops=LOOPS):
        await ended(door, f"/api/v1/detect/{one['id']}")
        await ended(door, f"/api/v1/detect/batch/{many['id']}")
    verdicts = {"allow": 2, "block": 2}
    stats = (await get(door, "/admin/stats")).json()
    assert (stats["by_decision"], stats["by_channel"]) == (verdicts, {"user": 1})  # the batch had both
    assert sum(stats["by_threat_type"].values()) >= 2
    threats = (await get(door, "/admin/threats")).json()
    assert (threats["by_decision"], sum(threats["malicious_by_hour"].values())) == (verdicts, 2)
    profile = (await get(door, "/auth/profile")).json()
    assert (profile["decisions"], profile["malicious_detections"]) == (verdicts, 2)
    rows = await door.rows("SELECT * FROM usage_log WHERE status = 0 ORDER BY items")
    assert [(row["endpoint"], row["items"]) for row in rows] == [(ASYNC, 1), (BATCH, 3)]
    asked = await door.rows("SELECT FROM usage_log WHERE status > 0")
    assert stats["last_24h"]["requests"] == len(asked)  # a row of the worker is no request


async def test_the_estimate_follows_the_worker(door: Door, receiver: Receiver) -> None:
    asked = {"text": "Hello", "webhook_url": receiver.url()}
    taken = await judged(door, asked, ASYNC)
    async with working(door.resources, jobs.judge, loops=LOOPS):
        await ended(door, f"/api/v1/detect/{taken['id']}")
    await door.behind.execute("UPDATE usage_log SET response_time_us = 5000000 WHERE status = 0")
    estimates = [(await judged(door, asked, ASYNC))["estimated_completion_seconds"] for _ in range(2)]
    assert estimates == [5, 10]
    await door.behind.execute("UPDATE usage_log SET response_time_us = 1 WHERE status = 0")
    assert (await judged(door, asked, ASYNC))["estimated_completion_seconds"] == 1


async def test_of_others_there_is_nothing(door: Door) -> None:
    assert (await get(door, f"/api/v1/detect/batch/{new_id()}")).status_code == 404
