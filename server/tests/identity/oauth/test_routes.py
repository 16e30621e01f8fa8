import asyncio
import base64
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens.store import Client
from server.tests.components import api
from server.tests.components.authlib_client import AsyncOAuth2Client, PrivateKeyJWT
from server.tests.identity import make
from server.tests.identity.oauth import make as oauth
from server.tests.identity.oauth.make import ISSUER

GRANT = {"grant_type": "client_credentials"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error", "error_description", "correlation_id"}
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, body["error"]


async def test_a_token_is_a_jwt_that_an_independent_library_verifies(
    client: httpx.AsyncClient, known: tuple[Client, str]
) -> None:
    owner, secret = known
    answer = await client.post("/oauth/token", data=GRANT, headers=oauth.basic(owner.id, secret))
    assert answer.status_code == 200
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    body = answer.json()
    assert (body["token_type"], body["expires_in"], set(body["scope"].split())) == (
        "Bearer",
        900,
        set(owner.scopes),
    )
    published = await client.get("/.well-known/jwks.json")
    taken = jwt.decode(body["access_token"], KeySet.import_key_set(published.json()), algorithms=["ES256"])
    assert taken.header["typ"] == "at+jwt"
    claims = taken.claims
    assert claims["exp"] - claims["iat"] == 900
    assert {name: claims[name] for name in ("iss", "aud", "sub", "client_id", "tenant_id", "scope")} == {
        "iss": ISSUER, "aud": ISSUER, "sub": str(owner.id), "client_id": str(owner.id),
        "tenant_id": str(owner.tenant.id), "scope": body["scope"],
    }  # fmt: skip
    assert "d" not in published.json()["keys"][0]
    me = (await client.get("/api/v1/me", headers=oauth.bearing(body["access_token"]))).json()
    assert (me["kind"], me["role"], me["tenant"], me["credential_id"]) == (
        "client",
        "analyst",
        "acme",
        str(owner.id),
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_authlib_is_served_with_a_secret(resources: Resources, tenant: Tenant, method: str) -> None:
    owner, secret = await oauth.client(resources, tenant, "viewer")
    async with (
        api.served(resources) as url,
        AsyncOAuth2Client(
            str(owner.id), secret, token_endpoint_auth_method=method, scope="events:read"
        ) as session,
    ):
        fetched = await session.fetch_token(f"{url}/oauth/token", grant_type="client_credentials")
        assert fetched["scope"] == "events:read"
        assert (await session.get(f"{url}/api/v1/me")).json()["scopes"] == ["events:read"]
        looked = await session.introspect_token(
            f"{url}/oauth/introspect", token=fetched["access_token"], token_type_hint="access_token"
        )
        assert looked.json()["active"] is True
        gone = await session.revoke_token(f"{url}/oauth/revoke", token=fetched["access_token"])
        assert gone.status_code == 200
        assert (await session.get(f"{url}/api/v1/me")).json()["code"] == "invalid_token"


@pytest.mark.filterwarnings(
    "ignore:EdDSA is deprecated"
)  # joserfc would rather name its curve; RFC 8037 does not
@pytest.mark.parametrize(("kind", "algorithm"), [("EC", "ES256"), ("RSA", "RS256"), ("OKP", "EdDSA")])
async def test_authlib_is_served_with_a_key(
    resources: Resources, tenant: Tenant, kind: str, algorithm: str
) -> None:
    signer = oauth.key(kind)
    owner, _ = await oauth.client(resources, tenant, "viewer", jwks=oauth.public(signer))
    async with (
        api.served(resources) as url,
        AsyncOAuth2Client(str(owner.id), signer, token_endpoint_auth_method="private_key_jwt") as session,
    ):
        ends = {"exp": int(time.time()) + 60}  # by itself it would ask for an hour, which nobody gets
        method = PrivateKeyJWT(f"{ISSUER}/oauth/token", ends, {"kid": "k1"}, algorithm)
        session.register_client_auth_method(method)
        await session.fetch_token(f"{url}/oauth/token", grant_type="client_credentials")
        assert (await session.get(f"{url}/api/v1/me")).json()["credential_id"] == str(owner.id)


async def test_metadata_leads_to_everything(client: httpx.AsyncClient) -> None:
    challenge = (await client.get("/api/v1/me")).headers["www-authenticate"]
    assert f'resource_metadata="{ISSUER}/.well-known/oauth-protected-resource"' in challenge
    resource = (await client.get("/.well-known/oauth-protected-resource")).json()
    assert resource["resource"] == ISSUER
    assert resource["authorization_servers"] == [ISSUER]
    server = (await client.get("/.well-known/oauth-authorization-server")).json()
    assert server["issuer"] == ISSUER
    assert server["grant_types_supported"] == ["client_credentials"]
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        assert refused(await client.post(server[name], data=GRANT)) == (401, "invalid_client")
    keys = await client.get(server["jwks_uri"])
    assert (keys.status_code, len(keys.json()["keys"])) == (200, 1)
    assert keys.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, (400, "invalid_request")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": "authorization_code", "code": "x"}, (400, "unsupported_grant_type")),
        (GRANT | {"scope": "events:read nothing:read"}, (400, "invalid_scope")),
        (GRANT | {"scope": "keys:write"}, (400, "invalid_scope")),
        (GRANT | {"scope": "platform"}, (400, "invalid_scope")),
        (GRANT | {"resource": "https://elsewhere.example"}, (400, "invalid_target")),
        (GRANT | {"client_secret": "x"}, (400, "invalid_request")),
        (GRANT | {"client_assertion": "x"}, (400, "invalid_request")),
        (GRANT | {"client_id": str(uuid4())}, (400, "invalid_request")),
        (GRANT | {"scope": "\0"}, (400, "invalid_request")),
        ({**GRANT, **{f"x{n}": "1" for n in range(60)}}, (400, "invalid_request")),
    ],
)
async def test_what_the_token_endpoint_refuses(
    client: httpx.AsyncClient, known: tuple[Client, str], form: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = await client.post("/oauth/token", data=form, headers=oauth.basic(known[0].id, known[1]))
    assert refused(answer) == expected


async def test_what_is_allowed_beside(client: httpx.AsyncClient, known: tuple[Client, str]) -> None:
    for more in ({"unknown": "1"}, {"scope": ""}, {"resource": ISSUER}, {"client_id": str(known[0].id)}):
        answer = await client.post(
            "/oauth/token", data=GRANT | more, headers=oauth.basic(known[0].id, known[1])
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"grant_type":"client_credentials"}', "application/json", 400),
        (b"grant_type=client_credentials", "", 400),
        (b"grant_type=client_credentials", "application/x-www-form-urlencoded; charset=latin-1", 400),
        (b"grant_type=client_credentials&grant_type=password", "application/x-www-form-urlencoded", 400),
        (b"grant_type=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"x=" + b"y" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"grant_type=client_credentials", "application/x-www-form-urlencoded; charset=UTF-8", 200),
    ],
)
async def test_bodies_that_are_no_form(
    client: httpx.AsyncClient, known: tuple[Client, str], content: bytes, media_type: str, status: int
) -> None:
    headers = oauth.basic(known[0].id, known[1]) | {"Content-Type": media_type}
    answer = await client.post("/oauth/token", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert refused(answer) == (400, "invalid_request")


async def test_every_wrong_proof_is_one_answer(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, known: tuple[Client, str]
) -> None:
    owner, secret = known
    suspended, its_secret = await oauth.client(resources, tenant)
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE oauth_clients SET state = 'suspended' WHERE client_id = $1", suspended.id)
    keyed, _ = await oauth.client(resources, tenant, jwks=oauth.public(oauth.key()))
    answers = []
    for headers in [
        {},
        oauth.basic(owner.id, secret[:-1] + "!"),
        oauth.basic(owner.id, ""),
        oauth.basic(uuid4(), secret),
        oauth.basic("nobody", secret),
        oauth.basic(suspended.id, its_secret),
        oauth.basic(keyed.id, secret),
        {"Authorization": "Basic !!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xff:x").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"Authorization": f"Bearer {secret}"},
    ]:
        answer = await client.post("/oauth/token", data=GRANT, headers=headers)
        assert refused(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        answers.append(answer.json()["error_description"])
    assert len(set(answers)) == 1


async def test_a_suspended_tenant_gets_no_token_and_its_tokens_do_nothing(
    client: httpx.AsyncClient, resources: Resources, known: tuple[Client, str]
) -> None:
    text = await oauth.token(client, *known)
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE tenants SET state = 'suspended'")
        await tx.run("SELECT pg_notify('identity', '')")
    await oauth.until(client, text, 403)
    answer = await client.post("/oauth/token", data=GRANT, headers=oauth.basic(known[0].id, known[1]))
    assert refused(answer) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 3600},
        {"exp": -61},
        {"exp": None},
        {"nbf": 120},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 256},
        {"jti": "\0"},
        {"jti": "\ud800"},
        {"iss": "someone"},
        {"sub": str(uuid4())},
        {"sub": None},
        {"aud": "https://elsewhere.example/token"},
        {"aud": None},
        {"exp": "soon"},
        {"exp": 10**400},
    ],
)
async def test_assertions_that_prove_nothing(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, changed: dict[str, Any]
) -> None:
    signer = oauth.key()
    owner, _ = await oauth.client(resources, tenant, jwks=oauth.public(signer))
    now = resources.clock.now()
    shifted = {
        name: int(now.timestamp()) + value
        if name in {"exp", "nbf"} and isinstance(value, int) and value < 10**10
        else value
        for name, value in changed.items()
    }
    claims = oauth.assertion(owner, now, **shifted)
    assert refused(await assert_it(client, oauth.sign(signer, "ES256", claims))) == (401, "invalid_client")


async def assert_it(client: httpx.AsyncClient, text: str, **more: str) -> httpx.Response:
    form = GRANT | {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": text,
    }
    return await client.post("/oauth/token", data=form | more)


async def test_an_assertion_is_good_once_and_only_as_its_key_says(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant
) -> None:
    signer, other, rsa = oauth.key(), oauth.key(), oauth.key("RSA", "k2")
    owner, _ = await oauth.client(resources, tenant, jwks=oauth.public(signer, rsa))
    now = resources.clock.now()
    good = oauth.sign(signer, "ES256", oauth.assertion(owner, now))
    assert (await assert_it(client, good, client_id=str(uuid4()))).status_code == 401
    assert (await assert_it(client, good, client_assertion_type="other")).status_code == 400
    assert (await assert_it(client, good, client_id=str(owner.id))).status_code == 200
    assert refused(await assert_it(client, good)) == (401, "invalid_client")
    for audience in (ISSUER, [ISSUER, "https://other.example"]):
        text = oauth.sign(rsa, "PS256", oauth.assertion(owner, now, aud=audience))
        assert (await assert_it(client, text)).status_code == 200
    claims = oauth.assertion(owner, now)
    for text in (
        oauth.sign(other, "ES256", claims),
        oauth.forged({"alg": "none", "kid": "k1"}, claims),
        oauth.forged({"alg": "HS256", "kid": "k1"}, claims, b"x" * 32),
        oauth.sign(signer, "ES256", claims, crit=["kid"]),
        oauth.sign(signer, "ES256", claims | {"pad": "x" * 9000}),
        "not.a.token",
        "",
    ):
        assert (await assert_it(client, text)).status_code in {400, 401}
    assert (await assert_it(client, oauth.sign(signer, "ES256", claims))).status_code == 200


async def test_one_assertion_sent_many_times_at_once_is_taken_once(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant
) -> None:
    signer = oauth.key()
    owner, _ = await oauth.client(resources, tenant, jwks=oauth.public(signer))
    text = oauth.sign(signer, "ES256", oauth.assertion(owner, resources.clock.now()))
    answers = await asyncio.gather(*(assert_it(client, text) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


async def test_introspection_tells_the_own_tenant_only(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, known: tuple[Client, str]
) -> None:
    owner, secret = known
    text = await oauth.token(client, owner, secret, scope="events:read")
    colleague, its_secret = await oauth.client(resources, tenant, "viewer")
    stranger, foreign = await oauth.client(resources, await make.tenant(resources, "other"))

    async def ask(who: Client, proof: str, what: str) -> dict[str, Any]:
        answer = await client.post(
            "/oauth/introspect", data={"token": what}, headers=oauth.basic(who.id, proof)
        )
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    told = await ask(colleague, its_secret, text)
    assert (told["active"], told["scope"], told["client_id"]) == (True, "events:read", str(owner.id))
    assert await ask(stranger, foreign, text) == {"active": False}
    _, api_key = await make.key(resources, tenant)
    for what in (text[:-4] + "AAAA", "x", api_key, oauth.forged({"alg": "none"}, {"iss": ISSUER})):
        assert await ask(owner, secret, what) == {"active": False}
    missing = await client.post("/oauth/introspect", data={}, headers=oauth.basic(owner.id, secret))
    assert refused(missing) == (400, "invalid_request")
    unknown = await client.post("/oauth/introspect", data={"token": text})
    assert refused(unknown) == (401, "invalid_client")


async def test_a_client_revokes_its_own_tokens_only(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, known: tuple[Client, str]
) -> None:
    owner, secret = known
    text = await oauth.token(client, owner, secret)
    assert (await client.get("/api/v1/me", headers=oauth.bearing(text))).status_code == 200
    colleague, its_secret = await oauth.client(resources, tenant)
    for who, proof, what in (
        (colleague, its_secret, text),
        (owner, secret, "nothing"),
        (owner, secret, text[:-4] + "AAAA"),
    ):
        answer = await client.post("/oauth/revoke", data={"token": what}, headers=oauth.basic(who.id, proof))
        assert (answer.status_code, answer.content) == (200, b"")
    assert (await client.get("/api/v1/me", headers=oauth.bearing(text))).status_code == 200
    for _ in range(2):
        answer = await client.post(
            "/oauth/revoke", data={"token": text}, headers=oauth.basic(owner.id, secret)
        )
        assert answer.status_code == 200
    after = await client.get("/api/v1/me", headers=oauth.bearing(text))
    assert (after.status_code, after.json()["code"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in after.headers["www-authenticate"]
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT actor, action FROM audit_log")
    assert [tuple(row) for row in rows] == [(f"client:{owner.id}", "token.revoke")]
