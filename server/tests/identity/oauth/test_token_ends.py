import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.caller import bearer_caller, still_opens
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens.store import Client
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.identity.oauth import make as oauth
from server.tests.identity.oauth.make import ISSUER


@pytest.fixture
async def elsewhere(
    resources: Resources, database_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A second process of the same installation."""
    async with opened(database_url, tmp_path) as other, api.client_of(other) as found:
        yield found
        assert other.database is not resources.database


@pytest.mark.parametrize("change", ["revoke", "delete", "suspend"])
async def test_what_ends_a_token_ends_it_in_every_process(
    client: httpx.AsyncClient,
    elsewhere: httpx.AsyncClient,
    resources: Resources,
    tenant: Tenant,
    known: tuple[Client, str],
    change: str,
) -> None:
    owner, secret = known
    _, admin = await make.key(resources, tenant)
    text = await oauth.token(client, owner, secret)
    for process in (client, elsewhere):
        await oauth.until(process, text, 200)
    url = f"/api/v1/oauth/clients/{owner.id}"
    if change == "revoke":
        await client.post("/oauth/revoke", data={"token": text}, headers=oauth.basic(owner.id, secret))
    elif change == "delete":
        assert (await client.delete(url, headers=make.bearing(admin))).status_code == 204
    else:
        done = await client.patch(url, json={"state": "suspended"}, headers=make.bearing(admin))
        assert done.json()["state"] == "suspended"
    for process in (client, elsewhere):
        await oauth.until(process, text, 401)


async def test_a_token_never_does_more_than_its_client_may_now(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, known: tuple[Client, str]
) -> None:
    owner, secret = known
    _, admin = await make.key(resources, tenant)
    text = await oauth.token(client, owner, secret, scope="events:read scores:read")
    url = f"/api/v1/oauth/clients/{owner.id}"
    await client.patch(url, json={"scopes": ["events:read", "agents:read"]}, headers=make.bearing(admin))
    async with asyncio.timeout(5):
        while True:
            scopes = (await client.get("/api/v1/me", headers=oauth.bearing(text))).json()["scopes"]
            if scopes == ["events:read"]:
                break
            await asyncio.sleep(0.02)
    answer = await client.get("/api/v1/agents", headers=oauth.bearing(text))
    assert (answer.status_code, answer.json()["required_scope"]) == (403, "agents:read")
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope", scope="agents:read"' in challenge
    assert "resource_metadata=" in challenge


@pytest.mark.parametrize("end", ["revoke", "narrow", "suspend", "expire"])
async def test_what_holds_a_stream_open_is_judged_again(database_url: str, tmp_path: Path, end: str) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        tenant = await make.tenant(resources)
        owner, secret = await oauth.client(resources, tenant)
        _, admin = await make.key(resources, tenant)
        text = await oauth.token(client, owner, secret)
        bearers: Bearers = client_app(client).state.bearers
        held = bearer_caller(await bearers.find(text))
        assert await still_opens(resources, tenant.id, held.credential, held.scopes)
        assert not await still_opens(resources, tenant.id, held.credential, held.scopes | {"platform"})
        assert not await still_opens(resources, uuid4(), held.credential, held.scopes)
        url = f"/api/v1/oauth/clients/{owner.id}"
        if end == "revoke":
            await client.post("/oauth/revoke", data={"token": text}, headers=oauth.basic(owner.id, secret))
        elif end == "expire":
            clock.move(owner.token_seconds + 61)
        else:
            change = {"scopes": ["usage:read"]} if end == "narrow" else {"state": "suspended"}
            changed = await client.patch(url, json=change, headers=make.bearing(admin))
            assert changed.status_code == 200, changed.text
        assert not await still_opens(resources, tenant.id, held.credential, held.scopes)


def client_app(client: httpx.AsyncClient) -> FastAPI:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    app = transport.app
    assert isinstance(app, FastAPI)
    return app


async def test_thirty_wrong_secrets_a_minute_are_the_most(
    client: httpx.AsyncClient, known: tuple[Client, str]
) -> None:
    owner, secret = known
    form = {"grant_type": "client_credentials"}
    for _ in range(30):
        answer = await client.post("/oauth/token", data=form, headers=oauth.basic(owner.id, "wrong" * 8))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await client.post("/oauth/token", data=form, headers=oauth.basic(owner.id, "wrong" * 8))
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_failures")
    assert int(answer.headers["retry-after"]) >= 1
    await oauth.token(client, owner, secret)  # a good one is served from any address


async def test_a_token_ends_on_time_even_when_it_is_remembered(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        owner, secret = await oauth.client(resources, await make.tenant(resources), token_seconds=60)
        text = await oauth.token(client, owner, secret)
        clock.move(timedelta(seconds=119).total_seconds())  # 60 and the minute of skew
        assert (await client.get("/api/v1/me", headers=oauth.bearing(text))).status_code == 200
        clock.move(1)
        for _ in range(2):
            answer = await client.get("/api/v1/me", headers=oauth.bearing(text))
            assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
        client_says = await client.post(
            "/oauth/introspect", data={"token": text}, headers=oauth.basic(owner.id, secret)
        )
        assert client_says.json() == {"active": False}


async def test_tokens_of_other_makers_or_other_meaning(
    client: httpx.AsyncClient, known: tuple[Client, str]
) -> None:
    text = await oauth.token(client, *known)
    header, payload, signature = text.split(".")
    published = (await client.get("/.well-known/jwks.json")).json()["keys"][0]
    now = 1_800_000_000
    claims = {"iss": ISSUER, "aud": ISSUER, "sub": "x", "exp": now * 2, "jti": str(uuid4())}
    mine = oauth.key(kid=published["kid"])
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for bad in (
        f"{header}.{payload}.{flipped}",
        f"{header}.{payload}.",
        oauth.sign(mine, "ES256", claims, typ="at+jwt"),
        oauth.forged({"alg": "none", "typ": "at+jwt"}, claims),
        oauth.forged({"alg": "HS256", "typ": "at+jwt", "kid": published["kid"]}, claims, b"x" * 32),
        oauth.sign(oauth.key(kid=None), "ES256", claims, typ="at+jwt"),
        oauth.sign(mine, "ES256", claims, typ="at+jwt", jwk=oauth.public(mine)["keys"][0]),
        oauth.sign(mine, "ES256", claims, typ="at+jwt", crit=["kid"]),
        oauth.sign(mine, "ES256", claims | {"iss": "https://nobody.example"}),
        oauth.sign(mine, "ES256", {"iss": 7}),
        oauth.sign(mine, "ES256", claims | {"pad": "x" * 9000}),
        f"{header}.W10.{signature}",
    ):
        answer = await client.get("/api/v1/me", headers=oauth.bearing(bad))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), bad
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert "error_description" not in answer.headers["www-authenticate"]
