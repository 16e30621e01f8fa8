"""Idempotency of host batches through the door: what a second request under the same key gets."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from guardhouse.agents import enroll_host
from guardhouse.agents.enroll_host import IssuedKey, NewHost
from guardhouse.foundation import signing
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.idempotency import IdempotencyKeyInvalid, IdempotencyKeyRequired
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.ingest import store
from guardhouse.ingest.replay import IdempotencyKeyMismatch, batch_key
from server.tests.components.hosts import EVENTS, Host, call, noon
from server.tests.components.opened import opened
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
    return Host(door.client, door.key)


def test_the_key_stands_in_the_header_or_in_the_body() -> None:
    for header, member in (("k", None), ('"k"', None), (" k ", None), (None, "k"), ("k", "k")):
        assert batch_key(header, member, b"", legacy=False).key == "k"
    with pytest.raises(IdempotencyKeyMismatch):
        batch_key("k", "l", b"", legacy=False)
    with pytest.raises(IdempotencyKeyRequired):
        batch_key(None, None, b"", legacy=False)
    for wrong in ("", '""', "x" * 256, "ü", "a\x7f", "a\tb"):
        with pytest.raises(IdempotencyKeyInvalid):
            batch_key(wrong, None, b"", legacy=False)
    assert batch_key("x" * 255, None, b"", legacy=False).key == "x" * 255


@pytest.mark.parametrize(
    ("header", "member", "status", "code"),
    [
        (None, None, 400, "idempotency_key_required"),
        ("a", "b", 422, "idempotency_key_mismatch"),
        ("x" * 256, None, 400, "idempotency_key_invalid"),
        (None, "ü", 400, "idempotency_key_invalid"),
    ],
)
async def test_a_batch_without_one_good_key_stores_nothing(
    door: Door, host: Host, header: str | None, member: str | None, status: int, code: str
) -> None:
    host.members = {"idempotency_key": member} if member else {}
    answer = await host.send([call()], idempotency_key=header)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await door.count("process_events") == 0


async def test_the_same_request_again_gets_the_same_bytes(door: Door, host: Host, clock: SetClock) -> None:
    events = [call(), call("BAD"), call(seq=1), call(at=clock.now() - timedelta(days=9))]
    first = await host.send(events, key="k")
    clock.move(23 * 3600)
    second = await host.send(events, key="k")
    assert (first.status_code, second.status_code) == (207, 207)
    assert second.content == first.content
    assert (first.headers.get("idempotency-replayed"), second.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert (first.json()["accepted"], first.json()["errors"]) == (2, 2)
    assert await door.count("process_events") == 2


async def test_duplicates_are_told_again_as_they_were(host: Host, clock: SetClock) -> None:
    first = [call(id=f"e{n}", at=clock.now()) for n in range(3)]
    await host.accepted(first[:2], key="one")
    again = await host.send(first, key="two")
    assert [r["status"] for r in again.json()["results"]] == ["duplicate", "duplicate", "accepted"]
    assert (await host.send(first, key="two")).content == again.content


async def test_after_a_day_every_item_is_a_duplicate(door: Door, host: Host, clock: SetClock) -> None:
    events = [call(), call("BAD"), call()]
    first = (await host.send(events, key="k")).json()
    clock.move(24 * 3600 + 1)
    answer = await host.send(events, key="k")
    late = answer.json()
    assert answer.headers["idempotency-replayed"] == "true"
    assert (late["accepted"], late["duplicates"], late["errors"]) == (0, 2, 1)
    assert [r["id"] for r in late["results"]] == [r["id"] for r in first["results"]]
    assert late["position"] == first["position"]
    assert await door.count("process_events") == 2


async def test_a_key_is_forgotten_after_seven_days(host: Host, resources: Resources, clock: SetClock) -> None:
    await host.send([call()], key="k")
    clock.move(7 * 24 * 3600 + 1)
    async with system_transaction(resources.database) as tx:
        assert await store.prune_batches(tx, clock.now(), 10) == 1
    answer = await host.send([call()], key="k")
    assert answer.headers.get("idempotency-replayed") is None


async def test_the_key_of_another_body_is_refused_and_stays_usable(door: Door, host: Host) -> None:
    assert (await host.send([call()], key="k")).status_code == 207
    answer = await host.send([call("write")], key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert (await host.send([call()], key="k")).headers["idempotency-replayed"] == "true"
    assert await door.count("process_events") == 1


async def test_the_query_of_ndjson_belongs_to_the_body(door: Door) -> None:
    line = json.dumps(call(seq=1)).encode()
    sent = {"content_type": "application/x-ndjson", "idempotency_key": "k"}
    first = await door.post(f"{EVENTS}?agent_id=web-1&stream=a", line, **sent)
    assert (first.status_code, first.json()["accepted"]) == (207, 1)
    other = await door.post(f"{EVENTS}?agent_id=web-1&stream=b", line, **sent)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    again = await door.post(f"{EVENTS}?agent_id=web-1&stream=a", line, **sent)
    assert again.content == first.content


async def test_keys_of_two_agents_and_two_tenants_do_not_meet(door: Door, host: Host) -> None:
    other = Host(door.client, door.key, id="web-2")
    assert (await host.send([call()], key="k")).json()["accepted"] == 1
    assert (await other.send([call("write")], key="k")).json()["accepted"] == 1


async def test_while_the_first_one_runs_the_second_is_told_to_wait(door: Door, host: Host) -> None:
    async with tenant_transaction(door.resources.database, door.tenant) as tx:
        assert await store.claim_key(tx, door.tenant.no, host.id, "k")
        answer = await host.send([call()], key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["retry-after"] == "1"
    assert (await host.send([call()], key="k")).json()["accepted"] == 1


async def test_only_what_was_stored_is_remembered(host: Host) -> None:
    refused = await host.send(b'{"agent_id":"web-1","events":[]}', key="k")
    assert refused.status_code == 422
    assert (await host.send([call()], key="k")).json()["accepted"] == 1


async def test_return_minimal_holds_for_one_answer_only(host: Host) -> None:
    short = await host.send([call(), call("BAD")], key="k", prefer="return=minimal")
    assert [r["status"] for r in short.json()["results"]] == ["error"]
    assert short.headers["preference-applied"] == "return=minimal"
    long = await host.send([call(), call("BAD")], key="k")
    assert [r["status"] for r in long.json()["results"]] == ["accepted", "error"]


# The older pair of headers.


async def enrol(door: Door, *modes: str) -> IssuedKey:
    async with system_transaction(door.resources.database) as tx:
        _, key = await enroll_host.enroll_host(
            tx, door.resources, door.tenant, NewHost("web-1", signature_modes=modes)
        )
    return key


async def legacy(door: Door, issued: IssuedKey, body: bytes, key: str) -> httpx.Response:
    secret = base64.urlsafe_b64decode(issued.secret + "=" * (-len(issued.secret) % 4))
    headers = {
        "content-type": "application/json",
        "x-agent-id": "web-1",
        "x-agent-signature": signing.legacy_mac(secret, body),
        "idempotency-key": key,
    }
    return await door.client.post(EVENTS, content=body, headers=headers)


async def test_the_same_bytes_under_the_older_signature_count_once_whatever_the_key(
    door: Door, clock: SetClock
) -> None:
    issued = await enrol(door, "rfc9421", "legacy")
    body = json.dumps({"events": [call(), call("write")]}).encode()
    first = await legacy(door, issued, body, "one")
    assert (first.status_code, first.headers["deprecation"]) == (207, "true")
    second = await legacy(door, issued, body, "two")
    assert second.headers["idempotency-replayed"] == "true"
    assert second.content == first.content
    clock.move(29 * 24 * 3600)
    async with system_transaction(door.resources.database) as tx:
        assert await store.prune_batches(tx, clock.now(), 10) == 0
    late = await legacy(door, issued, body, "three")
    assert (late.json()["accepted"], late.json()["duplicates"]) == (0, 2)
    assert await door.count("process_events") == 2


async def test_two_bodies_under_one_older_key_at_once_are_one_batch_and_one_refusal(door: Door) -> None:
    issued = await enrol(door, "legacy")
    for number in range(5):
        bodies = [json.dumps({"events": [call(name, code=number)]}).encode() for name in ("read", "write")]
        answers = await asyncio.gather(*(legacy(door, issued, body, f"k{number}") for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [207, 409]
    assert await door.count("process_events") == 5
