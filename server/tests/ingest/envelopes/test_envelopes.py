"""Sealed envelopes and signed payloads at the door: opened, held, refused; what a project insists on."""

import base64
import gzip
import hmac
import json
import os
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.ingest.envelopes import accept_envelope
from guardhouse.ingest.envelopes.jobs import open_held, prune_held
from server.tests.ingest.make import Door, batch, counts

URL = "/api/v1/events/encrypted"
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def sealed(content: Any, key: bytes = KEY, **around: Any) -> dict[str, Any]:
    """Return an envelope over a batch (bytes as they are), as released agents make it."""
    plain = content if isinstance(content, bytes) else json.dumps(content).encode()
    nonce = os.urandom(12)
    payload = text(nonce + AESGCM(key).encrypt(nonce, plain, None))
    return {"encrypted_payload": payload, "batch_id": "b-1", "agent_version": "3.2.4"} | around


async def call(door: Door, method: str, path: str, body: Any = None) -> dict[str, Any]:
    answer = await door.client.request(method, f"/api/v1{path}", json=body, headers={"x-api-key": door.key})
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found


async def project(door: Door, *keys: bytes, secrets: tuple[str, ...] = (), **settings: Any) -> str:
    """Make the project `shop` with these keys and secrets, the newest last; return its path."""
    made = await call(door, "POST", "/projects", {"slug": "shop", "settings": settings})
    path = f"/projects/{made['id']}"
    for key in keys:
        await call(door, "POST", f"{path}/encryption-keys", {"encryption_key": text(key)})
    for secret in secrets:
        await call(door, "POST", f"{path}/signing-secrets", {"signing_secret": secret})
    return path


async def send(door: Door, body: Any, url: str = URL, **headers: str | None) -> httpx.Response:
    return await door.post(url, body, **({"x_project_id": "shop"} | headers))


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def context(door: Door) -> JobContext:
    return JobContext(door.resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, door.now, ""))


async def test_an_envelope_is_taken_as_the_batch_in_it(door: Door) -> None:
    await project(door, OTHER, KEY)
    content = {"events": [door.event(idempotency_key="k"), 7], "metrics": [door.metric()]}
    for key in (KEY, OTHER):  # the active one, then the previous one; and once is enough
        answer = await send(door, sealed(content, key))
        assert answer.json()["batch_id"] == "b-1"
        assert answer.json()["held"] == 0
        assert counts(answer) == ((2, 0, 0, 1) if key is KEY else (0, 3, 0, 0))
    assert [await door.count(table) for table in ("events", "metrics", "held_envelopes")] == [1, 1, 0]
    used = await door.rows("SELECT last_used_at IS NOT NULL FROM project_secrets")
    assert [row[0] for row in used] == [True, True]


async def test_an_envelope_that_no_key_opens_is_held_until_one_does(door: Door) -> None:
    path = await project(door, OTHER)
    content = {"events": [door.event(idempotency_key="k"), "broken"], "metrics": []}
    envelope = sealed(content)
    first = await send(door, envelope, x_agent_install_id="web-1")
    assert (first.status_code, first.json()["held"], counts(first)) == (200, 1, (0, 0, 0, 0))
    again = await send(door, envelope)
    assert (again.json()["held"], counts(again)) == (0, (0, 1, 0, 0))
    assert again.headers["idempotency-replayed"] == "true"
    assert (await send(door, sealed(content))).json()["held"] == 1  # sealed anew: told apart later
    told = await door.rows("SELECT data->>'project' FROM notices WHERE kind = 'agent.undecryptable'")
    assert [row[0] for row in told] == ["shop"]
    await open_held.run(context(door))
    assert await door.count("events") == 0
    await call(door, "POST", f"{path}/encryption-keys", {"encryption_key": text(KEY)})
    await open_held.run(context(door))
    assert [await door.count(table) for table in ("events", "quarantine", "held_envelopes")] == [1, 1, 0]
    (row,) = await door.rows("SELECT installation FROM events")
    assert row["installation"] == "web-1"
    assert counts(await send(door, sealed(content))) == (0, 2, 0, 0)


async def test_held_envelopes_are_forgotten_after_a_week(door: Door) -> None:
    await project(door)
    assert (await send(door, sealed(batch()))).json()["held"] == 1
    await prune_held.run(context(door))
    assert await door.count("held_envelopes") == 1
    await door.behind.execute("UPDATE held_envelopes SET received_at = $1", door.now - timedelta(days=8))
    await prune_held.run(context(door))
    assert await door.count("held_envelopes") == 0


async def test_what_was_in_a_held_envelope_and_is_no_batch_goes_to_quarantine(door: Door) -> None:
    path = await project(door)
    assert (await send(door, sealed(b"[1]"))).json()["held"] == 1
    await call(door, "POST", f"{path}/encryption-keys", {"encryption_key": text(KEY)})
    await open_held.run(context(door))
    (row,) = await door.rows("SELECT kind, raw FROM quarantine")
    assert (row["kind"], row["raw"]) == ("body", b"[1]")
    assert await door.count("held_envelopes") == 0


@pytest.mark.parametrize("name", ["HELD_ENVELOPES", "HELD_BYTES"])
async def test_no_more_are_held_than_may_be(door: Door, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    await project(door)
    bound = 2 if name == "HELD_ENVELOPES" else 400
    monkeypatch.setattr(accept_envelope, name, bound)
    body = batch() | {"padding": "x" * 40}
    for n in range(2):
        assert (await send(door, sealed(body, batch_id=f"b-{n}"))).json()["held"] == 1
    assert code(await send(door, sealed(body, batch_id="b-2"))) == (403, "encryption_key_unknown")
    assert await door.count("held_envelopes") == 2
    assert await door.count("telemetry_receipts") == 2


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"encrypted_payload": "no base64!"}, "envelope_malformed"),
        ({"encrypted_payload": text(b"x" * 27)}, "envelope_malformed"),
        ({"encrypted_payload": 7}, "envelope_malformed"),
        ({}, "envelope_malformed"),
        (b"[]", "malformed_body"),
        (b'{"encrypted_payload":', "malformed_body"),
        (b"", "malformed_body"),
    ],
)
async def test_what_is_no_envelope_is_refused_and_kept(door: Door, body: Any, refused: str) -> None:
    await project(door, KEY)
    assert code(await send(door, body)) == (400, refused)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = await door.rows("SELECT code, raw FROM quarantine")
    assert [(row["code"], row["raw"]) for row in rows] == ([(refused, content)] if content else [])


async def test_an_envelope_over_nonsense_is_a_malformed_body(door: Door) -> None:
    await project(door, KEY)
    assert code(await send(door, sealed(b"nonsense"))) == (400, "malformed_body")
    (row,) = await door.rows("SELECT raw FROM quarantine")
    assert row["raw"] == b"nonsense"


async def test_a_large_envelope_is_opened_too(door: Door) -> None:
    await project(door, KEY, secrets=("a-long-enough-secret",))
    events = [door.event(idempotency_key=f"k{n}", reason="x" * 300) for n in range(1500)]
    body = json.dumps(sealed({"events": events, "metrics": []})).encode()
    signature = "v1=" + hmac.digest(b"a-long-enough-secret", body, "sha256").hex()
    answer = await send(door, gzip.compress(body), content_encoding="gzip", x_payload_signature=signature)
    assert counts(answer) == (1500, 0, 0, 0)


async def test_a_project_says_whether_bodies_are_sealed(door: Door) -> None:
    path = await project(door, KEY, encryption="off")
    assert code(await send(door, sealed(batch()))) == (403, "encryption_off")
    await call(door, "PATCH", path, {"settings": {"encryption": "required"}})
    for url in ("/api/v1/events", "/api/v1/metrics"):
        assert code(await send(door, batch([door.event()]), url)) == (403, "encryption_required")
        assert code(await send(door, b'{"batch_id":', url)) == (400, "malformed_body")
    assert await door.count("quarantine") == 0  # what would not be taken is not kept either
    assert counts(await send(door, sealed(batch([door.event()])))) == (1, 0, 0, 0)


@pytest.mark.parametrize("form", ["json", "wire"])
async def test_signed_payloads_in_both_forms(door: Door, form: str) -> None:
    await project(door, KEY, secrets=("the-secret-before", "the-secret-of-today"), signature="required")
    for n, secret in enumerate(("the-secret-of-today", "the-secret-before")):
        for url, body in (
            ("/api/v1/events", batch([door.event(idempotency_key=f"e{n}")], batch_id=f"e{n}")),
            (URL, sealed(batch([door.event(idempotency_key=f"s{n}")], batch_id=f"s{n}"))),
        ):
            content = json.dumps(body).encode()
            wire = gzip.compress(content)
            covered = content if form == "json" else wire
            header = "v1=" + hmac.digest(secret.encode(), covered, "sha256").hex()
            told = {"content_encoding": "gzip", "x_payload_signature": header}
            assert counts(await send(door, wire, url, **told)) == (1, 0, 0, 0)
    noted = await door.rows("SELECT data::json->>'signature_form' AS form FROM instance_contacts")
    assert {row["form"] for row in noted} == {form}


async def test_a_signature_that_does_not_fit_is_refused(door: Door) -> None:
    path = await project(door, KEY, secrets=("the-secret-of-today",))
    for url, body in (("/api/v1/events", batch([door.event()])), (URL, sealed(batch([door.event()])))):
        assert code(await send(door, body, url, x_payload_signature="v1=" + "0" * 64)) == (
            401, "signature_invalid",
        )  # fmt: skip
    assert await door.count("events") == 0
    assert counts(await send(door, batch([door.event()]), "/api/v1/events")) == (1, 0, 0, 0)
    await call(door, "PATCH", path, {"settings": {"signature": "required"}})
    for url, body in (("/api/v1/metrics", batch(metrics=[door.metric()])), (URL, sealed(batch()))):
        assert code(await send(door, body, url)) == (401, "signature_missing")
    await call(door, "PATCH", path, {"settings": {"signature": "off"}})
    answer = await send(door, batch(metrics=[door.metric()]), "/api/v1/metrics", x_payload_signature="v1=x")
    assert counts(answer) == (1, 0, 0, 0)


async def test_a_signature_without_a_secret_to_check_it_is_remarked(door: Door) -> None:
    await project(door)
    answer = await send(door, batch([door.event()]), "/api/v1/events", x_payload_signature="v1=" + "0" * 64)
    assert counts(answer) == (1, 0, 0, 0)
    (row,) = await door.rows("SELECT data::json->>'remarks' AS remarks FROM instance_contacts")
    assert "unverified" in row["remarks"]
