"""Import tokens: shown once, hashed at rest, bound to an agent and a format, ended for good, and in no log."""

import json
from typing import Any

import asyncpg
import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.failures import ALLOWED, Failures
from server.tests.components import api, hosts, logged
from server.tests.components.postgres import Clone
from server.tests.identity import make
from server.tests.identity.test_canary import everything_stored
from server.tests.ingest.formats.samples import falco, tracee

TOKENS = "/api/v1/agents/web-1/import-tokens"


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    await hosts.make_days(resources)
    return make.bearing(text)


async def enrol(client: httpx.AsyncClient, admin: dict[str, str], agent_id: str = "web-1") -> None:
    answer = await client.post("/api/v1/agents", json={"id": agent_id}, headers=admin)
    assert answer.status_code == 201, answer.text


async def new_token(client: httpx.AsyncClient, admin: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = await client.post(TOKENS, json={"format": "falco"} | body, headers=admin)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def post(client: httpx.AsyncClient, token: str, body: Any, **headers: str) -> httpx.Response:
    return await client.post(f"/api/v1/imports/{token}", content=json.dumps(body), headers=headers)


async def test_a_token_sends_events_of_its_agent_in_its_format_and_nothing_else(
    resources: Resources, admin: dict[str, str]
) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        made = await new_token(client, admin)
        assert made["url"].endswith(f"/api/v1/imports/{made['token']}")
        alert = falco(resources.clock.now(), hostname="says-otherwise")
        answer = await post(client, made["token"], alert)
        assert (answer.status_code, answer.json()["accepted"]) == (207, 1), answer.text
        again = await post(client, made["token"], alert)
        assert again.headers["idempotency-replayed"] == "true"
        other = await post(client, made["token"], tracee("read"))
        assert (other.status_code, other.json()["errors"]) == (207, 1)
        short = await client.post(f"/v1/imports/{made['token']}", json=alert | {"rule": "r"})
        assert short.status_code == 207
        listed = await client.get("/api/v1/events", headers=admin)
        assert {event["agent_id"] for event in listed.json()["data"]} == {"web-1"}
        assert (await client.get("/api/v1/events", headers=make.bearing(made["token"]))).status_code == 401


async def test_tokens_are_listed_without_their_text_and_end(
    resources: Resources, admin: dict[str, str]
) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        first = await new_token(client, admin)
        second = await new_token(client, admin, format="tetragon")
        await post(client, first["token"], falco(resources.clock.now()))
        page = (await client.get(f"{TOKENS}?limit=1", headers=admin)).json()
        rest = await client.get(f"{TOKENS}?limit=1&cursor={page['pagination']['cursor']}", headers=admin)
        shown = page["data"] + rest.json()["data"]
        assert [token["id"] for token in shown] == [first["id"], second["id"]]
        assert [token["format"] for token in shown] == ["falco", "tetragon"]
        assert [token["last_used_at"] is None for token in shown] == [False, True]
        assert not {"token", "url"} & shown[0].keys()
        ended = await client.delete(f"{TOKENS}/{first['id']}", headers=admin)
        assert ended.status_code == 204
        assert (await client.delete(f"{TOKENS}/{first['id']}", headers=admin)).status_code == 404
        listed = await client.get(TOKENS, headers=admin)
        assert [token["id"] for token in listed.json()["data"]] == [second["id"]]
        log = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
        told = {entry["action"]: entry["target"] for entry in log}
        assert told["import_token.create"] == f"import_token:{first['id']}"
        assert told["import_token.revoke"] == f"import_token:{first['id']}"


async def test_a_retried_request_makes_one_token_and_does_not_show_it_again(
    resources: Resources, admin: dict[str, str]
) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        keyed = admin | {"Idempotency-Key": "once"}
        first = await client.post(TOKENS, json={"format": "falco"}, headers=keyed)
        again = await client.post(TOKENS, json={"format": "falco"}, headers=keyed)
        assert again.json()["id"] == first.json()["id"]
        assert first.json()["token"] not in again.text


@pytest.mark.parametrize(
    "body", [{}, {"format": "auditd"}, {"format": None}, {"format": "falco", "name": "x"}]
)
async def test_what_a_token_may_not_be(resources: Resources, admin: dict[str, str], body: Any) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        assert (await client.post(TOKENS, json=body, headers=admin)).status_code == 422
        assert (
            await client.post(TOKENS.replace("web-1", "web-2"), json={"format": "falco"}, headers=admin)
        ).status_code == 404


def without_occurrence(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    said = answer.json()
    return answer.status_code, {n: v for n, v in said.items() if n not in ("instance", "correlation_id")}


async def test_every_token_that_is_not_good_gets_one_answer(
    resources: Resources, admin: dict[str, str]
) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        revoked, removed = await new_token(client, admin), await new_token(client, admin)
        alert = falco(resources.clock.now())
        await client.delete(f"{TOKENS}/{revoked['id']}", headers=admin)
        answers = [
            await post(client, text, body)
            for text in (revoked["token"], "ghimport_" + "x" * 43, "short", revoked["token"][:-1], "%C3%A9")
            for body in (alert, "nonsense")
        ]
        await client.delete("/api/v1/agents/web-1", headers=admin)
        answers.append(await post(client, removed["token"], alert))
        await enrol(client, admin)
        answers.append(await post(client, removed["token"], alert))
        told = [without_occurrence(answer) for answer in answers]
        assert told == [told[0]] * len(told)
        assert (told[0][0], told[0][1]["code"]) == (401, "import_token_refused")
        assert "www-authenticate" in answers[0].headers


async def test_whoever_tries_many_tokens_is_told_to_wait_and_a_good_one_still_works(
    resources: Resources, admin: dict[str, str]
) -> None:
    async with api.running(resources) as app, api.client_for(app) as client:
        app.state.failures = Failures(lambda: 0.0)  # no time passes, however busy the machine
        await enrol(client, admin)
        good = await new_token(client, admin)
        answers = [await post(client, f"ghimport_{n:043}", falco()) for n in range(ALLOWED + 1)]
        assert [answer.status_code for answer in answers] == [401] * ALLOWED + [429]
        assert (await post(client, good["token"], falco(resources.clock.now()))).status_code == 207


async def test_a_token_of_a_suspended_tenant_is_not_good(resources: Resources, admin: dict[str, str]) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        made = await new_token(client, admin)
        async with system_transaction(resources.database) as tx:
            await tx.run("UPDATE tenants SET state = 'suspended'")
        assert (await post(client, made["token"], falco())).status_code == 401


async def test_a_token_is_in_its_own_answer_and_nowhere_else(
    resources: Resources, admin: dict[str, str], database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a log, nor a trace, nor a row, nor a problem: not even when the server makes a mistake."""
    with logged.written() as logs:
        async with api.client_of(resources) as client:
            await enrol(client, admin)
            text = (await new_token(client, admin))["token"]
            answers = [
                await post(
                    client, text, falco(resources.clock.now()), traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
                ),
                await post(client, text, "nonsense"),
                await post(client, f"{text}x", falco()),
                await client.get(f"/api/v1/imports/{text}"),
                await client.get(f"/v1/imports/{text}/more"),
                await client.get(f"/api/v1/me?next=/api/v1/imports/{text}", headers=admin),
                await client.get("/api/v1/me", headers=admin | {"X-API-Key": text}),
                await client.get(f"/api/v1/events?agent_id={text}", headers=admin),
                await client.get(f"/api/v1/agents/{text}", headers=admin),
                await client.get("/api/v1/audit", headers=admin),
                await client.get(TOKENS, headers=admin),
            ]

            def fail(*_: object, **__: object) -> None:
                raise RuntimeError(f"at /api/v1/imports/{text}")

            monkeypatch.setattr("guardhouse.ingest.routes.import_alerts", fail)
            answers.append(await post(client, text, falco()))
        said = logs.getvalue()
    assert [answer.status_code for answer in answers[:4]] == [207, 400, 401, 405]
    assert answers[-1].status_code == 500
    assert "request_crashed" in said
    inner = text.removeprefix("ghimport_")
    assert inner not in said
    assert inner not in await everything_stored(database)
    assert not any(inner in answer.text for answer in answers)
    assert not any(inner in value for answer in answers for value in answer.headers.values())


async def test_what_is_kept_of_a_token_is_its_digest(
    resources: Resources, admin: dict[str, str], database: Clone
) -> None:
    async with api.client_of(resources) as client:
        await enrol(client, admin)
        await new_token(client, admin)
    connection = await asyncpg.connect(database.superuser_url)
    assert len(await connection.fetchval("SELECT digest FROM import_tokens")) == 32
    await connection.close()
