"""Imports through the whole door and into the database, with a key, a signature, or a token in the address."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import zstandard

from guardhouse.agents import enroll_host
from guardhouse.agents.enroll_host import NewHost
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.signing import legacy_mac
from guardhouse.foundation.transaction import system_transaction
from guardhouse.ingest.routes import LIMITS
from server.tests.components.api import BASE_URL
from server.tests.components.hosts import Host, call, make_days, noon, score_everything
from server.tests.components.opened import add_tenant, opened
from server.tests.identity.make import signed_request
from server.tests.ingest.formats.samples import NODE, falco, process, tetragon, tracee
from server.tests.ingest.make import Door

IMPORT = "/api/v1/events:import"


@pytest.fixture
def clock() -> SetClock:
    return noon()


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=clock) as found:
        yield found


async def send(door: Door, body: Any, query: str = "format=falco", **headers: str | None) -> httpx.Response:
    return await door.post(f"{IMPORT}?{query}", body, **headers)


async def taken(door: Door, body: Any, query: str = "format=falco", **headers: str | None) -> dict[str, Any]:
    answer = await send(door, body, query, **headers)
    assert answer.status_code == 207, answer.text
    said: dict[str, Any] = answer.json()
    return said


def counts(said: dict[str, Any]) -> tuple[int, int, int]:
    return said["accepted"], said["duplicates"], said["errors"]


async def stored(door: Door, **filters: str) -> list[dict[str, Any]]:
    answer = await door.client.get("/api/v1/events", params=filters, headers={"x-api-key": door.key})
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


# What comes in.


async def test_an_alert_comes_in_as_it_is_and_makes_its_host(door: Door) -> None:
    said = await taken(door, falco(door.now))
    assert counts(said) == (1, 0, 0)
    [event] = await stored(door)
    assert (event["agent_id"], event["kind"], event["pid"]) == (NODE, "finding", 4711)
    assert (event["rule"], event["priority"], event["alphabet"]) == (
        "Terminal shell in container",
        "notice",
        "falco.v1",
    )
    assert event["id"] == said["results"][0]["id"]
    enrolled = await door.client.get(f"/api/v1/agents/{NODE}", headers={"x-api-key": door.key})
    assert enrolled.json()["events"] == 1


@pytest.mark.parametrize("coding", [None, "gzip", "zstd"])
@pytest.mark.parametrize("shape", ["object", "array", "lines"])
async def test_every_shape_and_coding(door: Door, shape: str, coding: str | None) -> None:
    alerts = [falco(door.now, rule=f"rule {number}") for number in range(1 if shape == "object" else 3)]
    body = {
        "object": json.dumps(alerts[0]),
        "array": json.dumps(alerts),
        "lines": "\n".join(json.dumps(alert) for alert in alerts),
    }[shape].encode()
    packed = {
        None: body,
        "gzip": gzip.compress(body),
        "zstd": zstandard.ZstdCompressor().compress(body),
    }[coding]
    assert counts(await taken(door, packed, content_encoding=coding)) == (len(alerts), 0, 0)


async def test_all_three_formats_are_events_of_one_host(door: Door) -> None:
    at = door.now
    shell, tool = process(20, 2_000, "/bin/sh", (10, 1_000)), process(21, 3_000, "/usr/bin/id", (20, 2_000))
    events = [
        tetragon("exec", at, process=shell),
        tetragon("exec", at + timedelta(seconds=1), process=tool, parent=shell),
        tetragon("exit", at + timedelta(seconds=2), process=tool, status=0),
    ]
    assert counts(await taken(door, events, "format=tetragon")) == (3, 0, 0)
    assert counts(await taken(door, tracee("read", at), "format=tracee&agent_id=other")) == (1, 0, 0)
    assert counts(await taken(door, [falco(at)], "format=falco")) == (1, 0, 0)
    await make_days(door.resources)
    await score_everything(door.resources)
    headers = {"x-api-key": door.key}
    tree = await door.client.get(f"/api/v1/processes/{NODE}:21", headers=headers)
    assert tree.json()["exe"] == "/usr/bin/id"
    assert tree.json()["parent_id"] == f"{NODE}:20:1jk"
    known = await door.client.get(f"/api/v1/processes/{NODE}:4711", headers=headers)
    assert known.json()["exe"] == "/usr/bin/bash"


async def test_an_alert_without_a_process_is_a_finding_on_the_agent(door: Door) -> None:
    said = await taken(door, falco(door.now, source="k8s_audit", output_fields={}))
    assert counts(said) == (1, 0, 0)
    [event] = await stored(door, agent_id=NODE)
    assert (event["kind"], event["pid"], event["process_id"]) == ("finding", None, None)
    await make_days(door.resources)
    await score_everything(door.resources)
    listed = await door.client.get("/api/v1/processes", headers={"x-api-key": door.key})
    assert listed.json()["data"] == []


async def test_an_alert_joins_the_process_that_the_host_s_own_agent_reports(
    door: Door, clock: SetClock
) -> None:
    host = Host(door.client, door.key, NODE, members={"stream": "s", "boot_id": "boot-7"})
    await host.accepted([call(pid=4711, start=99, at=clock.now(), exe="/usr/bin/bash")])
    later = clock.now() + timedelta(seconds=1)
    await taken(door, falco(later, priority="Critical"))
    await make_days(door.resources)
    await score_everything(door.resources)
    answer = await door.client.get(f"/api/v1/processes/{NODE}:4711", headers={"x-api-key": door.key})
    [found] = answer.json()["explanation"]["contributions"]
    assert found["id"] == "ext.falco.Terminal shell in container"
    assert (found["nats"], found["attack"]) == (1.6, ["T1059"])


# Once and no more.


async def test_the_same_body_again_gets_the_same_answer(door: Door, clock: SetClock) -> None:
    body = [falco(clock.now()), {"broken": True}]
    first = await send(door, body)
    again = await send(door, body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    clock.move(25 * 3600)
    assert counts((await send(door, body)).json()) == (0, 1, 1)
    assert await door.count("process_events") == 1


async def test_the_same_lines_cut_otherwise_are_duplicates(door: Door) -> None:
    at = door.now
    events = [tetragon("exec", at, process=process(n, n * 1000, "/bin/x")) for n in range(1, 5)]
    await taken(door, events[:3], "format=tetragon")
    assert counts(await taken(door, events, "format=tetragon")) == (1, 3, 0)
    assert counts(await taken(door, [events[0], events[0]], "format=tetragon")) == (1, 1, 0)


async def test_an_alert_s_uuid_is_its_id(door: Door) -> None:
    at, uuid = door.now, "0198c0de-5f3b-7a10-b3c2-000000000001"
    await taken(door, falco(at, uuid=uuid))
    assert counts(await taken(door, falco(at, uuid=uuid, output="told otherwise"))) == (0, 1, 0)


async def test_a_key_holds_for_one_body_and_apart_from_those_of_events(door: Door) -> None:
    body = [falco(door.now)]
    await taken(door, body, idempotency_key="k")
    refused = await send(door, [falco(door.now), falco(door.now)], idempotency_key="k")
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    native = await door.events(
        {"agent_id": NODE, "events": [{"pid": 1, "syscall": "read"}]}, idempotency_key="k"
    )
    assert native.status_code == 207
    assert counts(await taken(door, [tracee("read", door.now)], "format=tracee", idempotency_key="k"))[0] == 1
    bad = await send(door, body, idempotency_key="x" * 256)
    assert (bad.status_code, bad.json()["code"]) == (400, "idempotency_key_invalid")


# Whose events.


async def test_the_query_names_the_agent_whatever_the_events_say(door: Door) -> None:
    mixed = [falco(door.now), falco(door.now, hostname="node-2")]
    assert counts(await taken(door, mixed, "format=falco&agent_id=edge-1")) == (2, 0, 0)
    assert {event["agent_id"] for event in await stored(door)} == {"edge-1"}


async def test_without_it_the_events_do_and_those_of_another_host_are_told(door: Door) -> None:
    mixed = [falco(door.now), falco(door.now, hostname="node-2"), falco(door.now, hostname=None, rule="r")]
    said = await taken(door, mixed)
    assert counts(said) == (2, 0, 1)
    assert said["results"][1]["error"]["code"] == "agent_mismatch"


@pytest.mark.parametrize("host", [None, "", "has space", "-x", 7])
async def test_nobody_named_is_refused(door: Door, host: Any) -> None:
    answer = await send(door, falco(door.now, hostname=host))
    assert (answer.status_code, answer.json()["code"]) == (422, "agent_required")
    assert (await send(door, falco(), "format=falco&agent_id=a%20b")).json()["code"] == "agent_required"
    assert await door.count("host_agents") == 0


async def enrol(door: Door, *modes: str) -> tuple[str, bytes]:
    """Enrol web-1 and return its key's id and secret."""
    async with system_transaction(door.resources.database) as tx:
        _, issued = await enroll_host.enroll_host(
            tx, door.resources, door.tenant, NewHost("web-1", signature_modes=modes or None)
        )
    return issued.key_id, base64.urlsafe_b64decode(issued.secret + "=" * (-len(issued.secret) % 4))


async def signed(
    door: Door, key: tuple[str, bytes], query: str, *, covered: tuple[str, ...] = ("@query",)
) -> httpx.Response:
    body = json.dumps(falco(door.now)).encode()
    parts = ("@method", "@authority", "@path", *covered, "content-type", "content-digest")
    made = signed_request(*key, now=door.now, url=f"{BASE_URL}{IMPORT}?{query}", body=body, covered=parts)
    sent = {name: value for name, value in made.headers.items() if name != "idempotency-key"}
    return await door.client.post(f"{IMPORT}?{query}", content=body, headers=sent)


async def test_an_agent_signs_its_imports(door: Door) -> None:
    key = await enrol(door)
    answer = await signed(door, key, "format=falco")
    assert (answer.status_code, answer.json()["accepted"]) == (207, 1), answer.text
    assert {event["agent_id"] for event in await stored(door)} == {"web-1"}
    other = await signed(door, key, "format=falco&agent_id=web-2")
    assert (other.status_code, other.json()["code"]) == (403, "agent_mismatch")
    unsigned_query = await signed(door, key, "format=tracee", covered=())
    assert (unsigned_query.status_code, unsigned_query.json()["code"]) == (401, "unauthorized")


async def test_the_older_signature_covers_no_query_and_opens_no_import(door: Door) -> None:
    _, secret = await enrol(door, "rfc9421", "legacy")
    body = json.dumps(falco(door.now)).encode()
    headers = {"x-agent-id": "web-1", "x-agent-signature": legacy_mac(secret, body)}
    answer = await send(door, body, x_api_key=None, **headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert await door.count("process_events") == 0


# What is refused.


@pytest.mark.parametrize("query", ["", "format=", "format=auditd", "format=FALCO", "format=native"])
async def test_an_unknown_format_is_refused(door: Door, query: str) -> None:
    answer = await send(door, falco(door.now), query)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_format")
    assert answer.json()["supported"] == ["falco", "tetragon", "tracee"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "malformed_body"),
        (b"nonsense", {}, 400, "malformed_body"),
        (b'{"rule":', {}, 400, "malformed_body"),
        (b"[1,", {}, 400, "malformed_body"),
        (b"[]", {}, 422, "validation_failed"),
        (b"\n\n", {"content-type": "application/x-ndjson"}, 422, "validation_failed"),
        (b"[" + b"{}," * 10_000 + b"{}]", {}, 413, "batch_too_large"),
        (b"{}\n" * 10_001, {}, 413, "batch_too_large"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": None}, 415, "unsupported_media_type"),
        (b"{}", {"content-encoding": "br"}, 415, "unsupported_coding"),
        (b"{}", {"content-encoding": "gzip, gzip"}, 415, "unsupported_coding"),
        (gzip.compress(b"{}", mtime=0)[:-3], {"content-encoding": "gzip"}, 400, "malformed_body"),
        (gzip.compress(b" " * (3 << 20), mtime=0), {"content-encoding": "gzip"}, 413, "compression_bomb"),
        (b"{}", {"x-api-key": None}, 401, "api_key_missing"),
        (b"{}", {"idempotency-key": "\x7f"}, 400, "idempotency_key_invalid"),
    ],
)  # fmt: skip
async def test_an_envelope_that_is_wrong_stores_nothing(
    door: Door, body: bytes, headers: dict[str, str | None], status: int, code: str
) -> None:
    answer = await send(door, body, "format=falco&agent_id=web-1", **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await door.count("ingest_batches") == 0


async def test_a_body_that_is_too_big(door: Door) -> None:
    big = b'{"rule":"' + b"x" * LIMITS.wire_bytes + b'"}'
    assert (await send(door, big)).json()["code"] == "body_too_large"


async def test_a_reader_may_not_import(door: Door) -> None:
    _, reader = await add_tenant(door.resources, "readers", role="viewer")
    answer = await send(door, falco(door.now), x_api_key=reader)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


async def test_one_broken_item_costs_only_itself(door: Door) -> None:
    at = door.now
    good = json.dumps(falco(at))
    deep = '{"rule":"r","output_fields":' + '{"a":' * 3000 + "1" + "}" * 3000 + "}"
    items = [
        good,
        '{"rule":"r","priority":}',
        "7",
        "null",
        '{"no":"rule"}',
        deep,
        '{"rule":"r","output":"' + "x" * 70_000 + '"}',
        '{"rule":"r","time":"yesterday"}',
        '{"rule":"r","time":"2026-01-01T00:00:00"}',
        json.dumps(falco(at - timedelta(days=8))),
        json.dumps(falco(at, rule="NaN and NUL")).replace("4700", "NaN").replace("runc", "a\\u0000b"),
        json.dumps(falco(at, rule="surrogate")).replace("runc", "\\ud800"),
    ]
    said = await taken(door, f"[{','.join(items)}]".encode())
    assert counts(said) == (3, 0, 9)
    codes = [(r["error"] or {}).get("code") for r in said["results"]]
    assert codes == [
        None, "event_invalid", "event_invalid", "event_invalid", "event_invalid", "event_invalid",
        "event_too_large", "event_invalid", "event_invalid", "event_too_old", None, None,
    ]  # fmt: skip
    lines = await taken(door, "\n".join(items).encode(), content_type="application/x-ndjson")
    assert counts(lines) == (0, 3, 9)


async def test_an_alert_of_the_future_is_clamped(door: Door) -> None:
    assert counts(await taken(door, falco(door.now + timedelta(hours=1)))) == (1, 0, 0)
    shown = await door.client.get(f"/api/v1/agents/{NODE}", headers={"x-api-key": door.key})
    assert shown.json()["clock_skewed"] is True
