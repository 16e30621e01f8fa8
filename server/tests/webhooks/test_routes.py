"""The API of endpoints: what is taken, what is shown, what is refused."""

from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.identity.keys import NewKey
from server.tests.components.opened import add_tenant
from server.tests.components.receiver import Receiver, answer
from server.tests.webhooks import make

HOOKS = "/api/v1/webhooks"


async def made(admin: httpx.AsyncClient, url: str, **wanted: Any) -> dict[str, Any]:
    answer = await admin.post(HOOKS, json={"url": url, "kinds": ["key.*"]} | wanted)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_life_of_an_endpoint(admin: httpx.AsyncClient, receiver: Receiver) -> None:
    hook = await made(
        admin, receiver.url(), description="bot", fifo=True, custom_headers={"Authorization": "Bearer x"}
    )
    assert hook["secret"].startswith("whsec_")
    assert (hook["state"], hook["custom_headers"], hook["warning"]) == ("active", True, None)
    path = f"{HOOKS}/{hook['id']}"
    shown = await admin.get(path)
    assert "secret" not in shown.json()
    assert "Bearer x" not in shown.text
    assert (await admin.get(HOOKS)).json()["data"] == [shown.json()]
    stale = {"If-Match": shown.headers["etag"]}
    changed = await admin.patch(
        path, json={"kinds": ["*"], "filter": {"min_severity": "high"}, "description": None}, headers=stale
    )
    assert (changed.json()["kinds"], changed.json()["filter"]["min_severity"]) == (["*"], "high")
    assert changed.json()["description"] is None
    assert (await admin.patch(path, json={"concurrency": 2}, headers=stale)).status_code == 412
    off = await admin.post(f"{path}/disable")
    assert (off.json()["state"], off.json()["reason"]) == ("paused", "by_hand")
    assert (await admin.post(f"{path}/disable")).status_code == 200
    assert (await admin.post(f"{path}/enable")).json()["state"] == "active"
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_a_test_sends_now_and_tells_all(admin: httpx.AsyncClient, receiver: Receiver) -> None:
    receiver.behave = answer(200, b"thanks")
    hook = await made(admin, receiver.url("/in"), custom_headers={"X-Mine": "secret-of-mine"})
    told = (await admin.post(f"{HOOKS}/{hook['id']}/test")).json()
    assert (told["delivered"], told["status"], told["response_head"]) == (True, 200, "thanks")
    assert told["address"] == "127.0.0.1"
    assert told["headers_sent"]["X-Mine"] == "***"
    (request,) = receiver.requests
    assert request.headers["x-mine"] == "secret-of-mine"
    assert Webhook(hook["secret"]).verify(request.body, request.headers)["type"] == "webhook.test"
    assert request.headers["webhook-signature"] == told["headers_sent"]["webhook-signature"]
    receiver.behave = answer(418)
    told = (await admin.post(f"{HOOKS}/{hook['id']}/test", json={"kind": "risk.band_crossed"})).json()
    assert (told["delivered"], told["error"]) == (False, "HTTP 418")
    unknown = await admin.post(f"{HOOKS}/{hook['id']}/test", json={"kind": "no.such"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "validation_failed")
    assert "webhook.test" in unknown.json()["kinds"]


async def test_two_secrets_sign_until_the_grace_ends(admin: httpx.AsyncClient, receiver: Receiver) -> None:
    hook = await made(admin, receiver.url())
    path = f"{HOOKS}/{hook['id']}"
    rotated = (await admin.post(f"{path}/rotate-secret", json={"grace_seconds": 600})).json()
    await admin.post(f"{path}/test")
    await admin.delete(f"{path}/previous-secret")
    await admin.post(f"{path}/test")
    both, new = receiver.requests
    assert len(both.headers["webhook-signature"].split()) == 2
    for secret in (hook["secret"], rotated["secret"]):
        Webhook(secret).verify(both.body, both.headers)
    Webhook(rotated["secret"]).verify(new.body, new.headers)
    assert len(new.headers["webhook-signature"].split()) == 1
    none = (await admin.post(f"{path}/rotate-secret", json={"grace_seconds": 0})).json()
    assert none["previous_secret_until"] is None


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kinds": []}, "validation_failed"),
    ({"kinds": ["no.such"]}, "validation_failed"),
    ({"kinds": ["telemetry.received"]}, "validation_failed"),
    ({"kinds": ["["]}, "validation_failed"),
    ({"secret": "x" * 15}, "validation_failed"),
    ({"secret": "x" * 65}, "validation_failed"),
    ({"schedule": {"preset": "custom", "steps_seconds": [1] * 16}}, "validation_failed"),
    ({"schedule": {"preset": "custom", "steps_seconds": [0]}}, "validation_failed"),
    ({"schedule": {"preset": "custom", "steps_seconds": [86_401]}}, "validation_failed"),
    ({"schedule": {"preset": "custom"}}, "validation_failed"),
    ({"schedule": {"steps_seconds": [1]}}, "validation_failed"),
    ({"timeout_ms": 999}, "validation_failed"),
    ({"timeout_ms": 30_001}, "validation_failed"),
    ({"concurrency": 0}, "validation_failed"),
    ({"concurrency": 65}, "validation_failed"),
    ({"rate_per_second": 0}, "validation_failed"),
    ({"description": "x" * 201}, "validation_failed"),
    ({"custom_headers": {"webhook-id": "x"}}, "validation_failed"),
    ({"custom_headers": {"X-A": "1\r\nX-B: 2"}}, "validation_failed"),
    ({"custom_headers": {"X-A": "1", "x-a": "2"}}, "validation_failed"),
    ({"kindz": ["key.*"]}, "validation_failed"),
    ({"url": "http://example.com/"}, "webhook_url_refused"),
    ({"url": "https://10.0.0.1/"}, "webhook_url_refused"),
    ({"url": "https://127.0.0.2/"}, "webhook_url_refused"),
    ({"url": "https://1.1.1.1/"}, "webhook_url_refused"),
    ({"url": "https://user:pass@example.com/"}, "webhook_url_refused"),
    ({"url": "https://example.com:22/"}, "webhook_url_refused"),
    ({"url": "https://example.com/#x"}, "webhook_url_refused"),
    ({"url": "https://example.com/" + "x" * 2029}, "webhook_url_refused"),
    ({"url": "ftp://example.com/"}, "webhook_url_refused"),
]


@pytest.mark.parametrize(("body", "code"), WRONG)
async def test_what_is_wrong_is_refused(closed: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    refused = await closed.post(HOOKS, json={"url": "https://example.invalid/", "kinds": ["key.*"]} | body)
    assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    if code == "webhook_url_refused":
        assert refused.json()["rule"]


@pytest.mark.parametrize("kinds", [["no.such"], ["telemetry.received"]])
async def test_a_wrong_kind_is_told_the_list(admin: httpx.AsyncClient, kinds: list[str]) -> None:
    refused = await admin.post(HOOKS, json={"url": "https://example.invalid/", "kinds": kinds})
    assert "risk.band_crossed" in refused.json()["kinds"]
    assert "telemetry.received" not in refused.json()["kinds"]


async def test_a_name_that_does_not_resolve_is_taken_with_a_warning(admin: httpx.AsyncClient) -> None:
    hook = await made(admin, "https://nowhere.invalid/hook")
    assert "does not resolve" in hook["warning"]


async def test_the_51st_is_refused(admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey) -> None:
    for _ in range(50):
        await make.endpoint(resources, tenant, "https://nowhere.invalid/")
    refused = await admin.post(HOOKS, json={"url": "https://nowhere.invalid/", "kinds": ["*"]})
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (409, "conflict", 50)


async def test_only_what_its_maker_may_read_is_heard(
    client: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    text = await make.key(resources, tenant, NewKey("narrow", "admin", ("webhooks:write", "webhooks:read")))
    url = {"url": "https://nowhere.invalid/"}
    refused = await client.post(HOOKS, json=url | {"kinds": ["key.created"]}, headers={"X-API-Key": text})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    wide = await client.post(HOOKS, json=url | {"kinds": ["*"]}, headers={"X-API-Key": text})
    assert wide.status_code == 201
    (row,) = await make.rows(resources, "SELECT scopes FROM webhook_endpoints")
    assert row["scopes"] == ["webhooks:read", "webhooks:write"]


async def test_an_agent_has_its_own_endpoints_alone(
    client: httpx.AsyncClient, admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    theirs = await made(admin, "https://nowhere.invalid/")
    text = await make.key(resources, tenant, NewKey("agent", "agent"))
    agent = {"X-API-Key": text}
    own = (
        await client.post(HOOKS, json={"url": "https://nowhere.invalid/", "kinds": ["*"]}, headers=agent)
    ).json()
    assert own["filter"]["api_key_id"] == own["created_by"]
    listed = (await client.get(HOOKS, headers=agent)).json()["data"]
    assert [one["id"] for one in listed] == [own["id"]]
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/disable"), ("GET", "/deliveries"),
        ("POST", "/rotate-secret"), ("DELETE", "/previous-secret"),
    ):  # fmt: skip
        body: dict[str, str] | None = {} if method in {"PATCH", "POST"} else None
        away = await client.request(method, f"{HOOKS}/{theirs['id']}{path}", headers=agent, json=body)
        assert away.status_code == 404, (method, path, away.text)
    widened = await client.patch(
        f"{HOOKS}/{own['id']}", json={"filter": {"min_severity": "low"}}, headers=agent
    )
    assert widened.json()["filter"]["api_key_id"] == own["created_by"]
    assert (
        await client.post(f"{HOOKS}/{own['id']}/replay", json={"mode": "range"}, headers=agent)
    ).status_code == 403


async def test_another_tenant_finds_nothing(
    client: httpx.AsyncClient, admin: httpx.AsyncClient, resources: Resources
) -> None:
    hook = await made(admin, "https://nowhere.invalid/")
    _, text = await add_tenant(resources, "umbrella")
    other = {"X-API-Key": text}
    assert (await client.get(HOOKS, headers=other)).json()["data"] == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/enable")):
        body: dict[str, str] | None = {} if method in {"PATCH", "POST"} else None
        away = await client.request(method, f"{HOOKS}/{hook['id']}{path}", headers=other, json=body)
        assert away.status_code == 404


async def test_changes_are_in_the_audit_log_without_secrets(
    admin: httpx.AsyncClient, resources: Resources
) -> None:
    hook = await made(admin, "https://nowhere.invalid/", custom_headers={"X-Mine": "secret-of-mine"})
    path = f"{HOOKS}/{hook['id']}"
    await admin.patch(path, json={"concurrency": 3})
    rotated = (await admin.post(f"{path}/rotate-secret")).json()["secret"]
    await admin.delete(path)
    lines = await make.rows(
        resources, "SELECT action, before, after::text, target FROM audit_log ORDER BY seq"
    )
    assert [line["action"] for line in lines] == [
        "webhook.create", "webhook.update", "webhook.rotate_secret", "webhook.delete",
    ]  # fmt: skip
    assert lines[1]["after"] == '{"concurrency": 3}'
    text = str([tuple(line) for line in lines])
    assert not any(secret in text for secret in (hook["secret"], rotated, "secret-of-mine"))


async def test_the_key_that_creates_is_answered_once(admin: httpx.AsyncClient) -> None:
    body = {"url": "https://nowhere.invalid/", "kinds": ["*"]}
    first = await admin.post(HOOKS, json=body, headers={"Idempotency-Key": "a"})
    again = await admin.post(HOOKS, json=body, headers={"Idempotency-Key": "a"})
    assert again.json()["id"] == first.json()["id"]
    assert (first.json()["secret"][:6], again.json()["secret"]) == ("whsec_", None)
    assert len((await admin.get(HOOKS)).json()["data"]) == 1
