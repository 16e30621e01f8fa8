from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.roles import ROLES
from guardhouse.identity.store import Tenant
from server.tests.identity import make
from server.tests.identity.oauth import make as oauth

URL = "/api/v1/oauth/clients"
PUBLIC = oauth.public(oauth.key())


@pytest.fixture
async def tenant(resources: Resources) -> Tenant:
    return await make.tenant(resources)


@pytest.fixture
async def admin(resources: Resources, tenant: Tenant) -> dict[str, str]:
    return make.bearing((await make.key(resources, tenant))[1])


async def fetch(client: httpx.AsyncClient, client_id: str, secret: str) -> int:
    form = {"grant_type": "client_credentials"}
    return (await client.post("/oauth/token", data=form, headers=oauth.basic(client_id, secret))).status_code


async def test_the_life_of_a_client(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    made = await client.post(URL, json={"name": "nightly", "role": "analyst"}, headers=admin)
    assert made.status_code == 201
    shown = made.json()
    secret = shown.pop("client_secret")
    assert secret.startswith("ghcs_")
    assert (shown["scopes"], shown["proof"], shown["token_seconds"]) == (
        sorted(ROLES["analyst"]),
        "client_secret",
        900,
    )
    url = f"{URL}/{shown['id']}"
    got = await client.get(url, headers=admin)
    assert (got.json(), got.headers["etag"]) == (shown, made.headers["etag"])
    assert secret not in (await client.get(URL, headers=admin)).text
    assert await fetch(client, shown["id"], secret) == 200
    changed = await client.patch(
        url, json={"name": "n2", "token_seconds": 60}, headers=admin | {"If-Match": got.headers["etag"]}
    )
    assert (changed.json()["name"], changed.json()["token_seconds"]) == ("n2", 60)
    stale = await client.patch(url, json={"name": "n3"}, headers=admin | {"If-Match": got.headers["etag"]})
    assert (stale.status_code, stale.json()["current"]) == (412, changed.headers["etag"])
    assert (await client.get(url, headers=admin)).headers["etag"] == changed.headers["etag"]
    assert (await client.delete(url, headers=admin)).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await client.request(method, url, headers=admin)).status_code == 404
    assert await fetch(client, shown["id"], secret) == 401
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT action, target, before::text, after::text FROM audit_log WHERE action LIKE 'client.%' ORDER BY seq"
        )
        assert await tx.fetch_value("SELECT count(*) FROM oauth_client_secrets") == 0
    assert [row["action"] for row in rows] == ["client.create", "client.update", "client.delete"]
    assert {row["target"] for row in rows} == {f"client:{shown['id']}"}
    assert secret not in str(rows)


async def test_two_secrets_live_so_that_one_can_be_replaced(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    made = (await client.post(URL, json={"name": "a"}, headers=admin)).json()
    url, name, old = f"{URL}/{made['id']}", made["id"], made["client_secret"]
    assert await fetch(client, name, old) == 200
    second = await client.post(f"{url}/secrets", headers=admin)
    assert second.status_code == 201
    new = second.json()["client_secret"]
    assert new != old
    third = await client.post(f"{url}/secrets", headers=admin)
    assert (third.status_code, third.json()["code"]) == (409, "conflict")
    assert [await fetch(client, name, text) for text in (old, new)] == [200, 200]
    first_id = next(
        s["id"] for s in (await client.get(url, headers=admin)).json()["secrets"] if s["last4"] == old[-4:]
    )
    assert (await client.delete(f"{url}/secrets/{first_id}", headers=admin)).status_code == 204
    assert (await client.delete(f"{url}/secrets/{first_id}", headers=admin)).status_code == 404
    await oauth.eventually(lambda: fetch(client, name, old), 401)
    assert await fetch(client, name, new) == 200
    assert (await client.post(f"{url}/secrets", headers=admin)).status_code == 201


async def test_a_client_with_keys_has_no_secret(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    made = await client.post(URL, json={"name": "a", "jwks": PUBLIC}, headers=admin)
    assert (made.status_code, made.json()["client_secret"], made.json()["proof"]) == (
        201,
        None,
        "private_key_jwt",
    )
    url = f"{URL}/{made.json()['id']}"
    assert (await client.post(f"{url}/secrets", headers=admin)).status_code == 409
    other = oauth.public(oauth.key(kid="k2"))
    assert (await client.patch(url, json={"jwks": other}, headers=admin)).json()["jwks"] == other
    plain = (await client.post(URL, json={"name": "b"}, headers=admin)).json()["id"]
    refused = await client.patch(f"{URL}/{plain}", json={"jwks": other}, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a"}, 201),
        ({"name": "a", "token_seconds": 60}, 201),
        ({"name": "a", "token_seconds": 3600}, 201),
        ({"name": "a", "token_seconds": 59}, 422),
        ({"name": "a", "token_seconds": 3601}, 422),
        ({"name": ""}, 422),
        ({"name": "a" * 201}, 422),
        ({"name": "a", "role": "platform"}, 422),
        ({"name": "a", "scopes": ["platform"]}, 403),
        ({"name": "a", "scopes": ["agents:write"]}, 403),
        ({"name": "a", "scopes": ["nothing:read"]}, 422),
        ({"name": "a", "scopes": []}, 422),
        ({"name": "a", "secret": "mine"}, 422),
        ({"name": "a", "jwks": PUBLIC, "jwks_uri": "https://keys.example/jwks"}, 422),
        ({"name": "a", "jwks": {}}, 422),
        ({"name": "a", "jwks": {"keys": []}}, 422),
        ({"name": "a", "jwks": {"keys": PUBLIC["keys"] * 51}}, 422),
        ({"name": "a", "jwks": {"keys": ["x"]}}, 422),
        ({"name": "a", "jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, 422),
        ({"name": "a", "jwks": {"keys": [{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}]}}, 422),
        ({"name": "a", "jwks": {"keys": [{"kty": [], "crv": {}, "use": [], "alg": {}}]}}, 422),
        ({"name": "a", "jwks": {"keys": [dict(oauth.key().as_dict(private=True))]}}, 422),
        ({"name": "a", "jwks": {"keys": [PUBLIC["keys"][0] | {"use": "enc"}]}}, 422),
        ({"name": "a", "jwks": {"keys": [PUBLIC["keys"][0] | {"alg": "ES512"}]}}, 422),
        ({"name": "a", "jwks": {"keys": [PUBLIC["keys"][0] | {"y": "AAAA"}]}}, 422),
    ],
)
async def test_what_a_client_may_be(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, Any], status: int
) -> None:
    answer = await client.post(URL, json=body, headers=admin)
    assert answer.status_code == status, answer.text
    assert len((await client.get(URL, headers=admin)).json()["data"]) == (status == 201)


async def test_nobody_makes_a_client_that_can_do_more_than_they(
    client: httpx.AsyncClient, resources: Resources, tenant: Tenant, admin: dict[str, str]
) -> None:
    few = ("keys:write", "keys:read", "events:read")
    limited = make.bearing((await make.key(resources, tenant, scopes=few))[1])
    answer = await client.post(URL, json={"name": "a"}, headers=limited)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    made = await client.post(URL, json={"name": "a", "scopes": ["events:read"]}, headers=limited)
    assert made.status_code == 201
    url = f"{URL}/{made.json()['id']}"
    for scopes, status in ((["scores:read"], 403), (["agents:write"], 403), (["nope"], 422)):
        changed = await client.patch(url, json={"scopes": scopes}, headers=limited)
        assert changed.status_code == status
    full = (await client.post(URL, json={"name": "b", "role": "admin"}, headers=admin)).json()
    stolen = await client.post(f"{URL}/{full['id']}/secrets", headers=limited)
    assert (stolen.status_code, stolen.json()["code"]) == (403, "scope_escalation")


async def test_pages_of_clients(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    for number in range(5):
        await client.post(URL, json={"name": str(number)}, headers=admin)
    names: list[str] = []
    query = "limit=2"
    while query:
        page = (await client.get(f"{URL}?{query}", headers=admin)).json()
        names += [each["name"] for each in page["data"]]
        query = f"limit=2&cursor={page['pagination']['cursor']}" if page["pagination"]["has_more"] else ""
    assert names == ["4", "3", "2", "1", "0"]


async def test_clients_of_another_tenant_look_like_none(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    made = (await client.post(URL, json={"name": "a"}, headers=admin)).json()
    theirs = make.bearing((await make.key(resources, await make.tenant(resources, "b")))[1])
    for method, path, body in [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/secrets", None),
        ("DELETE", f"/secrets/{made['secrets'][0]['id']}", None),
    ]:
        answers = [
            await client.request(method, f"{URL}/{name}{path}", json=body, headers=theirs)
            for name in (made["id"], uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert (await client.get(URL, headers=theirs)).json()["data"] == []
    assert await fetch(client, made["id"], made["client_secret"]) == 200
