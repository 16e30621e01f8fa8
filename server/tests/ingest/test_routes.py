"""The telemetry door as clients meet it: credentials, paths, families, bad input; one test per row of the table."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zstandard

from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys, signatures
from guardhouse.identity.keys import NewKey
from guardhouse.identity.tenants import find_tenant
from server.tests.ingest.make import Door, batch, counts, packed


async def make_key(door: Door, *scopes: str) -> str:
    resources = door.resources
    async with system_transaction(resources.database) as tx:
        tenant = await find_tenant(tx, "acme")
        assert tenant is not None
        wanted = NewKey("test", "admin", scopes)
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, wanted, created_by="test"
        )
    return text


async def quarantined(door: Door) -> list[tuple[str, str, bytes]]:
    rows = await door.rows("SELECT kind, code, raw FROM quarantine ORDER BY quarantine_no")
    return [(row["kind"], row["code"], bytes(row["raw"])) for row in rows]


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        f"{prefix}/{name}{slash}"
        for prefix in ("/api/v1", "/v1", "/api/v1/api/v1")
        for name in ("events", "metrics")
        for slash in ("", "/")
        if (prefix, name) != ("/v1", "metrics")
    ],
)
async def test_every_alias_is_served_by_the_same_handler_without_a_redirect(door: Door, path: str) -> None:
    body = batch([door.event()], [door.metric()])
    assert counts(await door.post(path, body)) == (2, 0, 0, 0)


async def test_the_contract_shows_both_families(door: Door) -> None:
    document = (await door.client.get("/api/v1/openapi.json")).json()
    operation = document["paths"]["/api/v1/events"]["post"]
    shown = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    named = [schema["$ref"].rpartition("/")[2] for schema in shown]
    assert named == ["AppBatch", "HostBatch"]
    assert set(document["components"]["schemas"]).issuperset({*named, "AppEvent", "AppMetric", "HostEvent"})
    assert {"200", "207", "400", "401", "403", "408", "409", "413", "415", "422", "503"} <= set(
        operation["responses"]
    )
    assert operation["tags"] == ["telemetry"]
    assert operation["x-aliases"] == ["/v1/events", "/api/v1/api/v1/events"]
    assert [path for path in document["paths"] if "/api/v1/api" in path or path.startswith("/v1")] == []


# Credentials: judged before a byte of the body is read.


async def never_read() -> AsyncIterator[bytes]:
    for chunk in (b"{", b"}"):
        pytest.fail("the body was read")
        yield chunk  # type: ignore[unreachable] # what makes this a generator


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "api_key_missing"),
        ({"X-API-Key": "gc_test_key_0123456789"}, 401, "api_key_malformed"),
        ({"X-API-Key": "gh_live_" + "a" * 32 + "_00000000"}, 401, "api_key_malformed"),
        ({"Authorization": "Bearer nonsense"}, 401, "api_key_malformed"),
    ],
)
async def test_no_or_malformed_key(door: Door, headers: dict[str, str], status: int, code: str) -> None:
    for path in ("/api/v1/events", "/api/v1/metrics"):
        answer = await door.client.post(path, content=never_read(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "www-authenticate" in answer.headers


async def test_a_revoked_key(door: Door) -> None:
    key = await make_key(door, "telemetry:write")
    await door.behind.execute("UPDATE api_keys SET state = 'revoked' WHERE prefix = $1", key[:16])
    answer = await door.client.post("/api/v1/events", content=never_read(), headers={"X-API-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_revoked")


async def test_two_different_keys(door: Door) -> None:
    other = await make_key(door, "telemetry:write")
    headers = {"X-API-Key": door.key, "Authorization": f"Bearer {other}"}
    answer = await door.client.post("/api/v1/events", content=never_read(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "ambiguous_credentials")
    both = {"X-API-Key": other, "Authorization": f"Bearer {other}"}
    assert (await door.client.post("/api/v1/events", content=b"{}", headers=both)).status_code == 200


async def test_a_key_without_the_scope(door: Door) -> None:
    reader = await make_key(door, "agents:read")
    answer = await door.client.post("/api/v1/events", content=never_read(), headers={"X-API-Key": reader})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert answer.json()["required_scope"] == "telemetry:write"
    host_only = await make_key(door, "events:write")
    answer = await door.events(batch([door.event()]), x_api_key=host_only)
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "telemetry:write")
    answer = await door.post("/api/v1/metrics", batch(), x_api_key=host_only)
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "telemetry:write")
    app_only = await make_key(door, "telemetry:write")
    body = {"agent_id": "web-1", "events": [{"pid": 1, "syscall": "execve"}]}
    answer = await door.events(body, x_api_key=app_only, idempotency_key="k")
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "events:write")


# Bodies.


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"<html></html>", b'{"events":[{"event_type":"x"},{"ev', b'{"a"']
)
async def test_what_is_no_object_or_cut_is_malformed_and_kept(door: Door, body: bytes) -> None:
    for sent, headers in ((body, {}), (gzip.compress(body), {"content_encoding": "gzip"})):
        answer = await door.events(sent, **headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
        assert 0 <= answer.json()["offset"] <= len(body)
    expected = [("body", "malformed_body", body)] * 2 if body else []
    if not body:
        assert [row[:2] for row in await quarantined(door)] in ([], [("body", "malformed_body")])
    else:
        assert await quarantined(door) == expected


async def test_an_empty_object_and_odd_arrays(door: Door) -> None:
    assert counts(await door.events(b"{}")) == (0, 0, 0, 0)
    assert counts(await door.events(batch() | {"events": None, "metrics": None})) == (0, 0, 0, 0)
    assert counts(await door.events(batch() | {"events": door.event()})) == (1, 0, 0, 0)
    answer = await door.events(batch([1, 2.5, "x", [], None, True], batch_id="b-2"))
    assert counts(answer) == (0, 0, 0, 6)
    assert {r["code"] for r in answer.json()["rejections"]} == {"not_an_object"}
    assert counts(await door.events(batch(batch_id="b-3") | {"events": 5})) == (0, 0, 0, 1)


async def test_headers_about_coding_may_lie(door: Door) -> None:
    body = batch([door.event()])
    assert counts(await door.events(body, content_encoding="gzip")) == (1, 0, 0, 0)
    assert counts(await door.events(packed(body))) == (0, 1, 0, 0)
    again = zstandard.ZstdCompressor().compress(json.dumps(body).encode())
    assert counts(await door.events(again, content_encoding="zstd")) == (0, 1, 0, 0)


@pytest.mark.parametrize("spoil", ["crc", "cut", "tail", "bytes"])
async def test_broken_gzip_is_malformed_and_kept(door: Door, spoil: str) -> None:
    good = packed(batch([door.event(reason=str(n)) for n in range(50)]))
    broken = {
        "crc": good[:-8] + b"\0\0\0\0" + good[-4:],
        "cut": good[:-20],
        "tail": good + b"tail",
        "bytes": good[:30] + b"\xff\xff\xff\xff" + good[34:],
    }[spoil]
    answer = await door.events(broken, content_encoding="gzip")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    ((kind, code, raw),) = await quarantined(door)
    assert (kind, code) == ("body", "malformed_body")
    assert raw


async def test_unknown_and_stacked_codings(door: Door) -> None:
    for coding in ("br", "gzip, gzip", "deflate"):
        answer = await door.events(b"{}", content_encoding=coding)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_coding")
        assert answer.json()["supported"] == ["gzip", "zstd", "identity"]


async def test_bombs_and_bodies_over_the_limits(door: Door) -> None:
    bomb = await door.events(gzip.compress(bytes(8 << 20)), content_encoding="gzip")
    assert (bomb.status_code, bomb.json()["code"]) == (413, "compression_bomb")
    assert bomb.json()["limit_ratio"] == 200
    assert bomb.headers["connection"] == "close"
    large = await door.client.post(
        "/api/v1/events",
        content=never_read(),
        headers={"X-API-Key": door.key, "Content-Length": str((16 << 20) + 1)},
    )
    assert (large.status_code, large.json()["limit_bytes"]) == (413, 16 << 20)
    many = await door.events(b'{"batch_id":"b","events":[' + b"1," * 50_000 + b"1]}")
    assert (many.status_code, many.json()["limit_items"]) == (413, 50_000)
    for table in ("events", "telemetry_receipts", "quarantine"):
        assert await door.count(table) == 0


async def test_odd_values_are_accepted_and_normalised(door: Door) -> None:
    item = json.dumps(door.event(reason="R", country="C", handler_name="H", status_code=200))
    item = item.replace('"R"', r'"a\u0000b\ud800c"').replace('"C"', '"D\xff"').replace("200", "1e999")
    item = item.replace('"metadata": {}', f'"metadata": {{"n": NaN, "big": {"9" * 300}, "i": -Infinity}}')
    body = b'{"batch_id":"b","events":[' + item.encode("latin-1") + b"]}"
    assert counts(await door.events(body)) == (1, 0, 0, 0)
    (row,) = await door.rows("SELECT reason, country, status_code, metadata, flags FROM events")
    assert (row["reason"], row["country"], row["status_code"]) == ("a\u2400b\ufffdc", "D\ufffd", None)
    assert json.loads(row["metadata"]) == {"n": "NaN", "big": "9" * 300, "i": "-Infinity"}
    assert row["flags"] & 8


async def test_a_byte_order_mark_is_no_matter(door: Door) -> None:
    assert counts(await door.events(b"\xef\xbb\xbf" + json.dumps(batch([door.event()])).encode())) == (
        1,
        0,
        0,
        0,
    )


async def test_one_broken_item_costs_only_itself(door: Door) -> None:
    good = json.dumps(door.event()).encode()
    deep = b'{"event_type":"x","metadata":' + b"[" * 40 + b"]" * 40 + b"}"
    wide = json.dumps({"event_type": "x", "metadata": {str(n): n for n in range(2001)}}).encode()
    large = json.dumps({"event_type": "x", "reason": "y" * 65536}).encode()
    items = [good, b'{"event_type":01}', deep, wide, large, b"[" * 3000 + b"]" * 3000, good]
    body = b'{"batch_id":"b","events":[' + b",".join(items) + b"]}"
    answer = await door.events(body)
    assert counts(answer) == (2, 0, 0, 5)
    said = [(r["index"], r["code"]) for r in answer.json()["rejections"]]
    assert said == [
        (1, "item_unreadable"),
        (2, "item_too_large"),
        (3, "item_too_large"),
        (4, "item_too_large"),
        (5, "item_unreadable"),
    ]
    assert [raw for _, _, raw in await quarantined(door)] == items[1:6]


async def test_unknown_types_and_extra_fields_are_accepted(door: Door) -> None:
    events = [
        door.event(event_type="penetration_atempt", shoe_size=43, pid=4711),
        door.event(event_type="EventType.RATE_LIMITED"),
        door.event(event_type=None),
        door.event(event_type=7),
    ]
    assert counts(await door.events(batch(events))) == (4, 0, 0, 0)
    rows = await door.rows("SELECT event_type, class, extra FROM events")
    found = {row["event_type"]: (row["class"], row["extra"]) for row in rows}
    assert set(found) == {"penetration_atempt", "rate_limited", "unknown", "7"}
    assert found["rate_limited"] == ("policy", None)
    assert json.loads(found["penetration_atempt"][1]) == {"shoe_size": 43, "pid": 4711}


async def test_a_metric_without_a_finite_value_is_rejected(door: Door) -> None:
    odd: list[Any] = [None, float("nan"), "x", [], "2.5", 3]
    metrics = [door.metric(value=value) for value in odd]
    answer = await door.events(batch(metrics=metrics))
    assert counts(answer) == (2, 0, 0, 4)
    assert [r["index"] for r in answer.json()["rejections"]] == [0, 1, 2, 3]
    assert {r["code"] for r in answer.json()["rejections"]} == {"no_value"}


async def test_rejections_are_cut_at_a_hundred_and_all_kept(door: Door) -> None:
    answer = await door.events(batch([1] * 250))
    assert counts(answer) == (0, 0, 0, 250)
    assert len(answer.json()["rejections"]) == 100
    assert await door.count("quarantine") == 250


# Families.

HOST_ITEM = {"pid": 1, "syscall": "execve"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"events": [HOST_ITEM], "batch_id": "b"}, {}, 200),
        ({"events": [HOST_ITEM], "batch_id": "b", "agent_id": "web-1"}, {"guardhouse_family": "host"}, 207),
        ({"events": [HOST_ITEM], "agent_id": "web-1"}, {}, 207),
        ({"events": [{"event_type": "x"}], "agent_id": "web-1"}, {"guardhouse_family": "app"}, 200),
        ({"events": [{"event_type": "x", "pid": 1}]}, {}, 200),
        ({"events": []}, {}, 200),
        ({}, {}, 200),
        ({"events": [5, {"a": 1}]}, {}, 422),
        ({"events": [{"kind": "exec", "pid": 3}], "stream": "s", "agent_id": "web-1"}, {}, 207),
    ],
)
async def test_families_are_told_apart(
    door: Door, body: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = await door.events(body, idempotency_key="k", **headers)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["code"] == "unknown_event_family"
        assert "event_type" in answer.json()["remediation"]


async def test_ndjson_is_host(door: Door) -> None:
    lines = b'{"pid":1,"syscall":"execve"}\n{"pid":2,"syscall":"open"}\n'
    answer = await door.post(
        "/api/v1/events?agent_id=web-1", lines, content_type="application/x-ndjson", idempotency_key="k"
    )
    assert answer.status_code == 207, answer.text
    assert answer.json()["accepted"] == 2


async def test_an_item_of_the_other_family(door: Door) -> None:
    answer = await door.events(batch([HOST_ITEM, door.event()]))
    assert counts(answer) == (1, 0, 0, 1)
    assert answer.json()["rejections"][0]["code"] == "wrong_family"
    body = {"agent_id": "web-1", "events": [HOST_ITEM, door.event(timestamp=door.now.isoformat())]}
    host = await door.events(body, idempotency_key="k")
    assert host.status_code == 207
    assert [r["error"]["code"] for r in host.json()["results"] if r["error"]] == ["wrong_family"]


async def test_a_host_batch_needs_an_idempotency_key(door: Door) -> None:
    answer = await door.events({"agent_id": "web-1", "events": [HOST_ITEM]})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")


async def test_credentials_of_a_host_and_an_app_body(door: Door) -> None:
    signed: dict[str, str | None] = {
        "x_api_key": None,
        "x_agent_id": "web-1",
        "x_agent_signature": "AAAA",
    }
    for path, headers in (
        ("/api/v1/events", signed),
        ("/api/v1/events", signed | {"guardhouse_family": "app"}),
        ("/api/v1/metrics", signed),
    ):
        answer = await door.post(path, batch([door.event()]), **headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "family_mismatch")
    answer = await door.events({"events": [HOST_ITEM]}, **signed)
    assert (answer.status_code, answer.json()["code"]) == (401, signatures.Unauthorized.code)


async def test_installation_and_user_agent_headers(door: Door) -> None:
    for said in ("fcb99e91-a3aa-4001-af1d-9b35c88058a6", "x" * 65, "\x01"):
        await door.events(batch([door.event()], batch_id=said), x_agent_install_id=said)
    rows = await door.rows("SELECT installation FROM events")
    named = [row["installation"] for row in rows if not row["installation"].startswith("legacy-")]
    assert (len(rows), named) == (3, ["fcb99e91-a3aa-4001-af1d-9b35c88058a6"])


@pytest.mark.parametrize("agent_id", [None, "a b"])
async def test_a_host_batch_under_a_key_says_which_agent_it_is_from(door: Door, agent_id: str | None) -> None:
    answer = await door.client.post(
        "/api/v1/events",
        json={"agent_id": agent_id, "events": [{"pid": 7, "syscall": "execve"}]},
        headers={"X-API-Key": await make_key(door, "events:write"), "Idempotency-Key": "k"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "agent_required")
