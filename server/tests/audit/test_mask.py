"""No secret reaches the audit log: the canaries of these tests go through every kind of call that records."""

import json
from typing import Any

import httpx
import pytest

from guardhouse.audit.mask import MASK, mask
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import sign_in_links
from server.tests.identity import make

KEY = "gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW"
WEBHOOK = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
LINK = "ghl_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
CONSOLE = {"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    "name",
    ["secret", "client_secret", "secret_token", "password", "api_key", "access_token", "cookie", "Authorization",
     "routing_key", "private_key", "assertion", "pepper", "secrets"],
)  # fmt: skip
def test_members_that_name_a_secret(name: str) -> None:
    assert mask({name: "x"}) == {name: MASK}
    assert mask({"deep": [{name: ["x", {"y": "z"}]}]})["deep"][0][name][0] == MASK
    assert mask({name: None}) == {name: None}


@pytest.mark.parametrize("name", ["key_id", "secretary", "name", "passwordless", "cookies"])
def test_members_that_name_none(name: str) -> None:
    assert mask({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("text", [KEY, WEBHOOK, JWT, LINK, f"use {KEY} now", f"[{JWT}]", f"{KEY}{WEBHOOK}"])
def test_texts_that_look_like_a_secret(text: str) -> None:
    masked = json.dumps(mask({"note": text, "list": [text], "deep": {"x": text}}))
    assert MASK in masked
    assert not any(secret in masked for secret in (KEY, WEBHOOK, JWT, LINK))


def test_numbers_and_truth_stay() -> None:
    value = {"n": 1, "x": 1.5, "yes": True, "none": None, "secret": True}
    assert mask(value) == value


async def test_no_canary_in_anything_that_is_recorded(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    admin, canaries = make.bearing(text), [text]

    async def call(method: str, path: str, body: Any = None, headers: dict[str, str] = admin) -> Any:
        answer = await client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json() if answer.content else {}

    enrolled = await call(
        "POST", "/api/v1/agents", {"id": "web-1", "metadata": {"token": KEY, "note": f"x {KEY}"}}
    )
    rotated = await call("POST", "/api/v1/agents/web-1/rotate-key", {})
    canaries += [KEY, enrolled["secret"], rotated["secret"]]
    await call("PATCH", "/api/v1/agents/web-1", {"metadata": {"api_key": "hunter2-canary", "note": JWT}})
    canaries += ["hunter2-canary", JWT]
    made = await call("POST", "/api/v1/keys", {"name": f"called {WEBHOOK}"})
    canaries += [made["api_key"], WEBHOOK]
    await call("DELETE", f"/api/v1/keys/{made['id']}")
    await client.post("/auth/session", json={"api_key": made["api_key"]})
    await call("POST", "/auth/session", {"api_key": text}, {"User-Agent": f"probe {text}"})
    canaries.append(client.cookies["gh_session"])
    await call("DELETE", "/auth/session", headers=CONSOLE)
    async with system_transaction(resources.database) as tx:
        link = await sign_in_links.make_link(tx, resources, tenant, "viewer", created_by="test")
    await client.get(link.url)
    canaries += [link.url.partition("token=")[2], client.cookies["gh_session"]]
    await call("GET", "/api/v1/audit/verify", headers=admin)
    await client.get("/api/v1/audit/export", headers=admin)
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT audit_log::text AS row, action FROM audit_log ORDER BY seq")
    recorded = "\n".join(row["row"] for row in rows)
    assert {
        "agent.enroll", "agent.rotate_key", "agent.update", "session.open", "session.refuse", "session.end",
        "link.create", "audit.export",
    } <= {row["action"] for row in rows}  # fmt: skip
    found = [canary[:12] for canary in canaries if canary in recorded]
    assert not found, recorded
