from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.store import Tenant
from server.tests.identity import make
from server.tests.identity.issuers import make as issuers
from server.tests.identity.issuers.make import URL, OwnIssuer
from server.tests.identity.oauth import make as oauth

SECRET = "the secret of the client"


async def test_the_life_of_a_trust(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], issuer: OwnIssuer
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh", client_secret=SECRET)
    assert (made["confidential"], made["state"]) == (True, "active")
    assert made["sign_in_url"] == f"http://127.0.0.1:8000/auth/oidc/login?issuer={made['id']}"
    url = f"{URL}/{made['id']}"
    got = await door.get(url, headers=chief)
    assert got.headers["etag"] == made.pop("etag")
    assert got.json() == made
    assert (await door.get(URL, headers=chief)).json()["data"] == [made]
    for method in ("PATCH", "DELETE"):
        without = await door.request(
            method, url, json={"name": "x"} if method == "PATCH" else None, headers=chief
        )
        assert (without.status_code, without.json()["code"]) == (428, "precondition_required")
        stale = await door.request(
            method,
            url,
            json={"name": "x"} if method == "PATCH" else None,
            headers=chief | {"If-Match": '"9"'},
        )
        assert (stale.status_code, stale.json()["current"]) == (412, '"1"')
    match = chief | {"If-Match": '"1"'}
    changed = await door.patch(url, json={"name": "people", "client_secret": None}, headers=match)
    assert (changed.json()["name"], changed.json()["confidential"]) == ("people", False)
    assert (await door.patch(url, json={"name": "y"}, headers=match)).status_code == 412
    gone = await door.delete(url, headers=chief | {"If-Match": changed.headers["etag"]})
    assert gone.status_code == 204
    assert (await door.get(url, headers=chief)).status_code == 404
    async with system_transaction(house.database) as tx:
        rows = await tx.fetch(
            "SELECT action, before::text, after::text FROM audit_log WHERE action LIKE 'issuer.%' ORDER BY seq"
        )
    assert [row["action"] for row in rows] == ["issuer.create", "issuer.update", "issuer.delete"]
    assert SECRET not in str(rows)


async def test_the_client_secret_is_sealed(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], issuer: OwnIssuer
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh", client_secret=SECRET)
    async with system_transaction(house.database) as tx:
        sealed: bytes = await tx.fetch_value("SELECT sealed_secret FROM identity_issuers")
    assert SECRET.encode() not in sealed
    assert house.master_key.open(sealed, f"issuer secret {made['id']}") == SECRET.encode()


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"issuer": "http://issuer.example"}, 422, "url_refused"),
        ({"issuer": "https://10.0.0.1"}, 422, "url_refused"),
        ({"issuer": "https://169.254.169.254/"}, 422, "url_refused"),
        ({"issuer": "https://user@issuer.example"}, 422, "url_refused"),
        ({"issuer": "https://issuer.example:22"}, 422, "url_refused"),
        ({"issuer": "https://issuer.example/#x"}, 422, "url_refused"),
        ({"issuer": "https://issuer.example/?x=1"}, 422, "validation_failed"),
        ({"issuer": "http://127.0.0.1:8000"}, 422, "validation_failed"),
        ({"issuer": "https://issuer.example/" + "x" * 2048}, 422, "validation_failed"),
        ({"algorithms": ["HS256"]}, 422, "validation_failed"),
        ({"algorithms": ["none"]}, 422, "validation_failed"),
        ({"algorithms": []}, 422, "validation_failed"),
        ({"role_map": {}}, 422, "validation_failed"),
        ({"role_map": {"x": "platform"}}, 422, "validation_failed"),
        ({"role_map": {"x": "root"}}, 422, "validation_failed"),
        ({"role_claim": ""}, 422, "validation_failed"),
        ({"scope_map": {"x": ["nothing:read"]}}, 422, "validation_failed"),
        ({"tenant_claim": "org"}, 422, "validation_failed"),
        ({"sign_in_scope": "profile"}, 422, "validation_failed"),
        ({"extra": 1}, 422, "validation_failed"),
        ({"name": "\0"}, 422, "invalid_text"),
    ],
)
async def test_what_cannot_be_trusted(
    client: httpx.AsyncClient, resources: Resources, changed: dict[str, Any], status: int, code: str
) -> None:
    chief = make.bearing((await make.key(resources, await make.tenant(resources)))[1])
    body = issuers.wanted("https://issuer.example") | changed
    answer = await client.post(URL, json=body, headers=chief)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await client.get(URL, headers=chief)).json()["data"] == []


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://other.example"}, {"role_map": None}, {"tenant_claim": "org"}, {"algorithms": ["x"]}],
)
async def test_changes_that_are_refused(
    door: httpx.AsyncClient, chief: dict[str, str], change: dict[str, Any]
) -> None:
    made = await issuers.trust(door, chief, "https://issuer.example")
    answer = await door.patch(f"{URL}/{made['id']}", json=change, headers=chief | {"If-Match": made["etag"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text


async def test_nobody_maps_a_role_that_can_do_more_than_they(
    door: httpx.AsyncClient, house: Resources, owner: Tenant, chief: dict[str, str]
) -> None:
    few = ("identity:write", "identity:read")
    limited = make.bearing((await make.key(house, owner, scopes=few))[1])
    answer = await door.post(URL, json=issuers.wanted("https://issuer.example"), headers=limited)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    made = await issuers.trust(door, chief, "https://issuer.example")
    answer = await door.patch(
        f"{URL}/{made['id']}", json={"role_map": {"x": "admin"}}, headers=limited | {"If-Match": made["etag"]}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")


async def test_twenty_issuers_are_enough(door: httpx.AsyncClient, chief: dict[str, str]) -> None:
    for number in range(20):
        await issuers.trust(door, chief, f"https://issuer.example/{number}")
    answer = await door.post(URL, json=issuers.wanted("https://issuer.example/x"), headers=chief)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_trying_an_issuer_says_each_step(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh")
    url = f"{URL}/{made['id']}/test"

    async def tried(token: str | None = None) -> tuple[bool, dict[str, bool]]:
        body = None if token is None else {"token": token}
        answer = await door.post(url, json=body, headers=chief)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["ok"] == all(check["ok"] for check in said["checks"])
        return said["ok"], {check["step"]: check["ok"] for check in said["checks"]}

    assert await tried() == (True, {"metadata": True, "issuer": True, "keys": True, "sign_in": True})
    good, steps = await tried(issuer.token(clock.now()))
    assert (good, steps["token"], steps["role"]) == (True, True, True)
    assert (await tried(issuer.token(clock.now(), roles=["guests"])))[1]["role"] is False
    assert (await tried(issuer.token(clock.now(), aud="x")))[1]["token"] is False
    assert (await tried(issuer.token(clock.now(), iss="https://other.example")))[1]["token"] is False
    assert (await tried("nothing"))[1]["token"] is False
    issuer.metadata = {"issuer": "https://other.example", "token_endpoint": None}
    good, steps = await tried()
    assert (good, steps["issuer"], steps["sign_in"]) == (False, False, False)
    issuer.metadata = {"jwks_uri": "http://10.0.0.1/keys"}
    assert (await tried())[1] == {"metadata": True, "issuer": True, "keys": False}
    issuer.down = True
    assert await tried() == (False, {"metadata": False})


async def test_issuers_of_another_tenant_look_like_none(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer)
    theirs = make.bearing((await make.key(house, await make.tenant(house, "b")))[1]) | {"If-Match": "*"}
    for method, path, body in [
        ("GET", "", None), ("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/test", None),
    ]:  # fmt: skip
        answers = [
            await door.request(method, f"{URL}/{name}{path}", json=body, headers=theirs)
            for name in (made["id"], uuid4())
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert (await door.get(URL, headers=theirs)).json()["data"] == []
    assert (await door.get("/api/v1/me", headers=oauth.bearing(issuer.token(clock.now())))).status_code == 200
