import asyncio
import json
import re
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys
from guardhouse.identity.roles import ROLES
from server.tests.components.postgres import Clone
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def test_the_life_of_a_key(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    made = await client.post(
        "/api/v1/keys", json={"name": "ci", "role": "analyst", "expires_in_days": 1}, headers=admin
    )
    assert made.status_code == 201
    key = made.json()
    text = key.pop("api_key")
    assert key["scopes"] == sorted(ROLES["analyst"])
    assert (await client.get("/api/v1/me", headers=make.bearing(text))).json()["role"] == "analyst"
    assert (await client.get(f"/api/v1/keys/{key['id']}", headers=admin)).json() == key
    assert text[16:40] not in (await client.get("/api/v1/keys", headers=admin)).text
    for _ in range(2):
        gone = await client.delete(f"/api/v1/keys/{key['id']}", headers=admin)
        assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    async with asyncio.timeout(1):
        while (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 200:
            await asyncio.sleep(0.01)
    again = await client.post(f"/api/v1/keys/{key['id']}/revoke", headers=admin)
    assert (again.status_code, again.json()["state"]) == (200, "revoked")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a"}, 201),
        ({"name": "a" * 200, "env": "test"}, 201),
        ({"name": ""}, 422),
        ({"name": "a" * 201}, 422),
        ({"name": 5}, 422),
        ({"name": "a", "role": "platform"}, 422),
        ({"name": "a", "role": "root"}, 422),
        ({"name": "a", "env": "prod"}, 422),
        ({"name": "a", "scopes": []}, 422),
        ({"name": "a", "scopes": ["nothing:read"]}, 422),
        ({"name": "a", "scopes": ["platform"]}, 403),
        ({"name": "a", "scopes": ["keys:write"]}, 403),
        ({"name": "a", "expires_in_days": 0}, 422),
        ({"name": "a", "expires_in_days": -1}, 422),
        ({"name": "a", "expires_in_days": 10**9}, 422),
        ({"name": "a", "expires_in_days": "1"}, 201),
        ({"name": "a", "extra": 1}, 422),
    ],
)
async def test_what_a_key_may_be(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, object], status: int
) -> None:
    answer = await client.post("/api/v1/keys", json=body, headers=admin)
    assert answer.status_code == status, answer.text
    listed = (await client.get("/api/v1/keys", headers=admin)).json()["data"]
    assert len(listed) == (2 if status == 201 else 1)


async def test_a_key_makes_none_that_can_do_more(client: httpx.AsyncClient, resources: Resources) -> None:
    _, text = await make.key(resources, await make.tenant(resources), scopes=("keys:write", "events:read"))
    answer = await client.post(
        "/api/v1/keys", json={"name": "x", "role": "viewer"}, headers=make.bearing(text)
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    answer = await client.post(
        "/api/v1/keys", json={"name": "x", "scopes": ["events:read"]}, headers=make.bearing(text)
    )
    assert answer.status_code == 201
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 2


async def test_a_failed_commit_is_never_a_201(
    client: httpx.AsyncClient,
    admin: dict[str, str],
    resources: Resources,
    database: Clone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL goes away after the last statement of the request and before its commit."""
    create_key = keys.create_key

    async def then_cut(tx: Tx, *args: Any, **named: Any) -> Any:
        made = await create_key(tx, *args, **named)
        superuser = await asyncpg.connect(database.superuser_url)
        await superuser.execute(
            "SELECT pg_terminate_backend($1)", await tx.fetch_value("SELECT pg_backend_pid()")
        )
        await superuser.close()
        return made

    with monkeypatch.context() as patched:
        patched.setattr(keys, "create_key", then_cut)
        answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    assert "gh_" not in answer.text
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM api_keys") == 1


async def test_the_row_is_there_when_the_answer_is(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=admin)
    async with system_transaction(resources.database) as tx:
        found = await tx.fetch_value(
            "SELECT name FROM api_keys WHERE key_id = $1::text::uuid", answer.json()["id"]
        )
    assert found == "x"


async def test_pages_of_keys(client: httpx.AsyncClient, admin: dict[str, str], resources: Resources) -> None:
    for number in range(4):
        await client.post("/api/v1/keys", json={"name": str(number)}, headers=admin)
    names: list[str] = []
    query = "limit=2"
    while True:
        page = (await client.get(f"/api/v1/keys?{query}", headers=admin)).json()
        names += [key["name"] for key in page["data"]]
        if not page["pagination"]["has_more"]:
            break
        query = f"limit=2&cursor={page['pagination']['cursor']}"
    assert names == ["3", "2", "1", "0", "test"]
    _, other = await make.key(resources, await make.tenant(resources, "other"))
    refused = await client.get(f"/api/v1/keys?{query}", headers=make.bearing(other))
    assert (refused.status_code, refused.json()["reason"]) == (400, "filters_changed")
    elsewhere = await client.get(f"/api/v1/agents?{query}", headers=admin)
    assert (elsewhere.status_code, elsewhere.json()["reason"]) == (400, "filters_changed")


def plain(answer: httpx.Response) -> tuple[int, dict[str, object], dict[str, str]]:
    """Return what may be compared: all but the occurrence's own marks."""
    body = json.loads(re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn", answer.text)) if answer.text else {}
    marks = {"x-response-time", "x-correlation-id", "x-request-id", "traceparent"}
    return answer.status_code, body, {k: v for k, v in answer.headers.items() if k not in marks}


ROWS = """
INSERT INTO processes (tenant_no, agent_no, key, process_id, pid, started_at, last_seen, first_position, last_position,
  calls, other_events, risk, tree_risk, risk_score, band, tree_band, root_key, alphabet)
SELECT $1, agent_no, '7.5.0.b', 'web-1:7:5', 7, now(), now(), 1, 1, 1, 0, 0, 0, 0, 'low', 'low', '7.5.0.b', 'native.v1'
FROM host_agents
"""
SCORE = """
INSERT INTO scores (score_id, calculated_at, tenant_no, agent_no, position, pid, risk, tree_risk, risk_score, key,
  root_key, process_id, band, reasons, evidence, versions)
SELECT $2, $3, $1, agent_no, 1, 7, 0, 0, 0, '7.5.0.b', '7.5.0.b', 'web-1:7:5', 'low', '{}', '[]', '{}' FROM host_agents
"""


async def test_ids_of_another_tenant_look_like_no_ids_at_all(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    key, text = await make.key(resources, a)
    _, foreign = await make.key(resources, b)
    mine, theirs = make.bearing(text), make.bearing(foreign) | {"X-Correlation-ID": "probe"}
    assert (await client.post("/api/v1/agents", json={"id": "web-1"}, headers=mine)).status_code == 201
    sent = await client.post(
        "/api/v1/events",
        json={"agent_id": "web-1", "events": [{"pid": 7, "syscall": "execve"}]},
        headers=mine | {"Idempotency-Key": "k1", "Guardhouse-Family": "host"},
    )
    assert sent.status_code == 207, sent.text
    event_id = sent.json()["results"][0]["id"]
    score_id, now = uuid4(), resources.clock.now()
    async with system_transaction(resources.database) as tx:
        await tx.fetch_value("SELECT guardhouse_create_day('scores', $1)", now.date())
        await tx.run(ROWS, a.no)
        await tx.run(SCORE, a.no, score_id, now)
    for path, known, random in [
        ("/api/v1/keys/{}", str(key.id), str(uuid4())),
        ("/api/v1/agents/{}", "web-1", "web-9"),
        ("/api/v1/events/{}", event_id, uuid4().hex),
        ("/api/v1/processes/{}", "web-1:7:5", "web-9:7:5"),
        ("/api/v1/processes/{}/tree", "web-1:7:5", "web-9:7:5"),
        ("/api/v1/scores/{}", str(score_id), str(uuid4())),
    ]:
        methods = ["GET"] + (["DELETE"] if path.startswith(("/api/v1/keys", "/api/v1/agents")) else [])
        for method in methods:
            found, absent = [
                plain(await client.request(method, path.format(i), headers=theirs)) for i in (known, random)
            ]
            assert found == absent, path
            assert found[0] == 404
    for method, path, body in [
        ("PATCH", "/api/v1/agents/{}", {"name": "x"}),
        ("POST", "/api/v1/agents/{}/rotate-key", {}),
        ("POST", "/api/v1/keys/{}/revoke", {}),
    ]:
        ids = (str(key.id), str(uuid4())) if "keys" in path else ("web-1", "web-9")
        found, absent = [
            plain(await client.request(method, path.format(i), json=body, headers=theirs)) for i in ids
        ]
        assert found == absent
        assert found[0] == 404
    found, absent = [
        plain(await client.post("/api/v1/scores:recalculate", json={"process_id": i}, headers=theirs))
        for i in ("web-1:7:5", "web-9:7:5")
    ]
    assert found == absent
    for path in (
        "agents",
        "events",
        "events?process_id=web-1:7",
        "processes",
        "scores",
        "scores?view=history",
    ):
        assert (await client.get(f"/api/v1/{path}", headers=theirs)).json()["data"] == [], path
    for path in ("agents", "events", "processes", "scores?view=history"):
        assert len((await client.get(f"/api/v1/{path}", headers=mine)).json()["data"]) == 1, path
    assert (await client.get("/api/v1/me", headers=mine)).status_code == 200
    assert (await client.get(f"/api/v1/events/{event_id}", headers=mine)).status_code == 200


async def test_two_tenants_may_have_agents_of_one_id(client: httpx.AsyncClient, resources: Resources) -> None:
    for slug in ("a", "b"):
        _, text = await make.key(resources, await make.tenant(resources, slug))
        made = await client.post(
            "/api/v1/agents", json={"id": "web-1", "name": slug}, headers=make.bearing(text)
        )
        assert made.status_code == 201
        got = await client.get("/api/v1/agents/web-1", headers=make.bearing(text))
        assert got.json()["name"] == slug
