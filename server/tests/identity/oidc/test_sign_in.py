import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from guardhouse.foundation.clock import Clock, SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components import api
from server.tests.components.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, oidc_provider
from server.tests.identity.issuers import make as issuers
from server.tests.identity.issuers.make import OwnIssuer
from server.tests.identity.oauth import make as oauth

HERE = "http://127.0.0.1:8000"
CONSOLE = {"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "same-origin"}
WITH_SECRET = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@asynccontextmanager
async def browsing(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that reaches the application at its public URL, and everything else over the network."""
    inside = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(mounts={HERE: inside}, base_url=HERE, follow_redirects=True) as browser:
        yield browser


@pytest.fixture
async def provider(clock: SetClock) -> AsyncIterator[OidcProvider]:
    clock.instant = Clock().now()
    async with oidc_provider(HERE) as found:
        yield found


async def members(resources: Resources) -> list[dict[str, Any]]:
    async with system_transaction(resources.database) as tx:
        return [dict(row) for row in await tx.fetch("SELECT subject, email, name, role FROM members")]


async def test_a_person_signs_in_with_a_real_provider(
    house: Resources, chief: dict[str, str], provider: OidcProvider
) -> None:
    async with api.running(house) as app, browsing(app) as browser:
        trusted = await issuers.trust(browser, chief, provider.issuer, **WITH_SECRET)
        login = f"/auth/oidc/login?issuer={trusted['id']}&next=/api/v1/me"
        answer = await browser.get(login)
        assert (answer.status_code, answer.url.path) == (200, "/api/v1/me")
        who = answer.json()
        assert (who["kind"], who["role"], who["tenant"]) == ("user", "viewer", "acme")
        assert await members(house) == [
            {"subject": "ada", "email": "ada@example.test", "name": "Ada", "role": "viewer"}
        ]
        assert "gh_oidc" not in browser.cookies
        before = browser.cookies["gh_session"]
        await provider.control(person={"sub": "ada", "name": "Ada L.", "roles": ["chiefs"]})
        assert (await browser.get(login)).json()["role"] == "admin"
        assert browser.cookies["gh_session"] != before
        assert [(m["name"], m["role"]) for m in await members(house)] == [("Ada L.", "admin")]
        await provider.control(person={"sub": "ada", "roles": ["guests"]})
        refused = await browser.get(login)
        assert (refused.status_code, "no_role_mapped" in refused.text) == (403, True)
        assert refused.headers["x-correlation-id"] in refused.text
        async with system_transaction(house.database) as tx:
            rows = await tx.fetch("SELECT action, after::text FROM audit_log ORDER BY seq")
        assert rows[-1]["action"] == "session.refuse"
        assert "no_role_mapped" in rows[-1]["after"]


async def test_a_provider_that_changes_its_keys_and_one_without_a_secret(
    house: Resources, chief: dict[str, str], clock: SetClock, provider: OidcProvider
) -> None:
    async with api.running(house) as app, browsing(app) as browser:
        trusted = await issuers.trust(browser, chief, provider.issuer, **WITH_SECRET)
        login = f"/auth/oidc/login?issuer={trusted['id']}"
        assert (await browser.get(login)).status_code == 200
        await provider.control(rotate=True)
        clock.move(61)
        assert (await browser.get(login)).status_code == 200
        match = chief | {"If-Match": trusted["etag"]}
        url = f"{issuers.URL}/{trusted['id']}"
        assert (await browser.patch(url, json={"client_secret": "wrong"}, headers=match)).status_code == 200
        refused = await browser.get(login)
        assert (refused.status_code, "code_refused" in refused.text) == (400, True)


async def test_signing_out_here_and_at_the_issuer_and_by_its_word(
    house: Resources, chief: dict[str, str], clock: SetClock
) -> None:
    clock.instant = Clock().now()
    async with (
        api.served(house) as served,
        oidc_provider(HERE, f"{served}/auth/oidc/backchannel-logout") as provider,
        api.running(house) as app,
        browsing(app) as browser,
    ):
        trusted = await issuers.trust(browser, chief, provider.issuer, **WITH_SECRET)
        login = f"/auth/oidc/login?issuer={trusted['id']}"
        assert (await browser.get(login)).json()["kind"] == "user"
        cookie = browser.cookies["gh_session"]
        asked = await browser.post("/auth/oidc/logout")
        assert (asked.status_code, asked.json()["code"]) == (403, "csrf_refused")
        form = await browser.get(f"{provider.issuer}/session/end?client_id={CLIENT_ID}")
        xsrf = re.search(r'name="xsrf" value="([^"]+)"', form.text)
        assert xsrf is not None
        done = await browser.post(
            f"{provider.issuer}/session/end/confirm", data={"xsrf": xsrf[1], "logout": "yes"}
        )
        assert done.status_code < 500

        async def me() -> int:
            return (await browser.get("/api/v1/me", headers={"Cookie": f"gh_session={cookie}"})).status_code

        await oauth.eventually(me, 401)  # the provider told us by its back channel
        assert (await browser.get(login)).json()["kind"] == "user"
        out = await browser.post("/auth/oidc/logout", headers=CONSOLE)
        onward = urlsplit(out.json()["end_session_url"])
        assert f"{onward.scheme}://{onward.netloc}{onward.path}" == f"{provider.issuer}/session/end"
        assert parse_qs(onward.query) == {"client_id": [CLIENT_ID], "post_logout_redirect_uri": [f"{HERE}/"]}
        assert (await browser.get("/api/v1/me")).status_code == 401


class Begun:
    """A sign-in at the test's own issuer, up to where the browser would come back."""

    def __init__(self, browser: httpx.AsyncClient, asked: dict[str, str]) -> None:
        self.browser = browser
        self.asked = asked

    async def come_back(self, **changed: Any) -> httpx.Response:
        given = {"state": self.asked["state"], "code": "c1"} | changed
        query = {name: value for name, value in given.items() if value is not None}
        return await self.browser.get("/auth/oidc/callback", params=query, follow_redirects=False)


@asynccontextmanager
async def begun(
    door: httpx.AsyncClient,
    chief: dict[str, str],
    issuer: OwnIssuer,
    onward: str = "/api/v1/me",
    **trusted: Any,
) -> AsyncIterator[Begun]:
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh", **trusted)
    answer = await door.get("/auth/oidc/login", params={"issuer": made["id"], "next": onward})
    assert answer.status_code == 303, answer.text
    assert answer.headers["cache-control"] == "no-store"
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    yield Begun(door, asked)


def id_token(issuer: OwnIssuer, clock: SetClock, begun: Begun, **changed: Any) -> str:
    claims = {"aud": "gh", "nonce": begun.asked["nonce"], "sid": "s1"} | changed
    return issuer.token(clock.now(), **claims)


async def test_what_is_asked_of_the_issuer(
    door: httpx.AsyncClient, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        asked = sign_in.asked
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == (
            "code",
            "gh",
            "S256",
        )
        assert asked["redirect_uri"] == f"{HERE}/auth/oidc/callback"
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        issuer.tokens = {"id_token": id_token(issuer, clock, sign_in), "access_token": "at"}
        done = await sign_in.come_back(iss=issuer.issuer)
        assert (done.status_code, done.headers["location"]) == (303, "/api/v1/me")
        cookies = done.headers.get_list("set-cookie")
        assert any(c.startswith("gh_session=") and "HttpOnly" in c and "SameSite=Lax" in c for c in cookies)
        assert any(c.startswith("gh_oidc=;") for c in cookies)
        sent = parse_qs(issuer.receiver.requests[-2].body.decode())
        assert sent["grant_type"] == ["authorization_code"]
        assert len(sent["code_verifier"][0]) >= 43
        again = await sign_in.come_back(iss=issuer.issuer)  # the cookie is gone
        assert (again.status_code, "unknown_state" in again.text) == (400, True)


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"state": "other"}, 400, "unknown_state"),
        ({"state": None}, 400, "unknown_state"),
        ({"iss": "https://mixed-up.example"}, 400, "wrong_issuer"),
        ({"error": "access_denied", "code": None}, 403, "refused_by_issuer"),
        ({"code": None}, 400, "no_code"),
    ],
)
async def test_answers_that_open_nothing(
    door: httpx.AsyncClient,
    chief: dict[str, str],
    issuer: OwnIssuer,
    changed: dict[str, Any],
    status: int,
    code: str,
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        answer = await sign_in.come_back(**changed)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert code in answer.text
    assert answer.headers["x-correlation-id"] in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not any(c.startswith("gh_session=") for c in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "someone"},
        {"aud": ["gh", "other"]},
        {"aud": ["gh", "other"], "azp": "other"},
        {"azp": "other"},
        {"at_hash": "wrong"},
        {"exp": 0},
        {"iss": "https://other.example"},
        {"sub": None},
    ],
)
async def test_id_tokens_that_are_not_believed(
    door: httpx.AsyncClient,
    chief: dict[str, str],
    issuer: OwnIssuer,
    clock: SetClock,
    changed: dict[str, Any],
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        issuer.tokens = {"id_token": id_token(issuer, clock, sign_in, **changed), "access_token": "at"}
        answer = await sign_in.come_back()
    assert (answer.status_code, "id_token_refused" in answer.text) == (400, True), answer.text


async def test_an_id_token_of_another_key_and_issuers_that_fail(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        claims = issuer.claims(clock.now(), aud="gh", nonce=sign_in.asked["nonce"])
        cookie = {"Cookie": f"gh_oidc={door.cookies['gh_oidc']}"}
        query = {"state": sign_in.asked["state"], "code": "c1"}
        for tokens, status, code in (
            ({"id_token": oauth.sign(oauth.key(), "ES256", claims)}, 400, "id_token_refused"),
            ({"id_token": oauth.forged({"alg": "none"}, claims)}, 400, "id_token_refused"),
            ({"access_token": "at"}, 400, "no_id_token"),
            ({}, 400, "code_refused"),
        ):
            issuer.tokens = tokens
            answer = await door.get("/auth/oidc/callback", params=query, headers=cookie)
            assert (answer.status_code, code in answer.text) == (status, True), answer.text
        issuer.down = True
        answer = await door.get("/auth/oidc/callback", params=query, headers=cookie)
        assert (answer.status_code, "issuer_unavailable" in answer.text) == (503, True)
    async with system_transaction(house.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM sessions") == 0
        assert await tx.fetch_value("SELECT count(*) FROM audit_log WHERE action = 'session.refuse'") == 5


async def test_beginning_at_nobody_and_at_an_issuer_that_is_down(
    door: httpx.AsyncClient, chief: dict[str, str], issuer: OwnIssuer
) -> None:
    bearer_only = await issuers.trust(door, chief, "https://issuer.example")
    for name in ("", "x", str(uuid4()), bearer_only["id"]):
        answer = await door.get("/auth/oidc/login", params={"issuer": name})
        assert (answer.status_code, "unknown_issuer" in answer.text) == (404, True)
    issuer.down = True
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh")
    answer = await door.get("/auth/oidc/login", params={"issuer": made["id"]})
    assert (answer.status_code, "issuer_unavailable" in answer.text) == (503, True)
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "x", ""])
async def test_next_to_another_origin_is_ignored(
    door: httpx.AsyncClient, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock, onward: str
) -> None:
    async with begun(door, chief, issuer, onward) as sign_in:
        issuer.tokens = {"id_token": id_token(issuer, clock, sign_in)}
        assert (await sign_in.come_back()).headers["location"] == "/api/v1/me"


async def test_ten_minutes_and_one_browser(
    door: httpx.AsyncClient, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        issuer.tokens = {"id_token": id_token(issuer, clock, sign_in)}
        cookie = door.cookies["gh_oidc"]
        door.cookies.clear()
        assert "unknown_state" in (await sign_in.come_back()).text
        flipped = ("A" if cookie[20] != "A" else "B").join((cookie[:20], cookie[21:]))
        for value in (flipped, "x", ""):
            door.cookies.set("gh_oidc", value)
            assert "unknown_state" in (await sign_in.come_back()).text
            door.cookies.clear()
        clock.move(600)
        door.cookies.set("gh_oidc", cookie)
        assert "unknown_state" in (await sign_in.come_back()).text


async def test_a_logout_token_ends_what_it_names_and_nothing_else(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock
) -> None:
    async with begun(door, chief, issuer) as sign_in:
        issuer.tokens = {"id_token": id_token(issuer, clock, sign_in)}
        assert (await sign_in.come_back()).status_code == 303
    event: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}

    async def tell(signer: oauth.Key | None = None, **changed: Any) -> httpx.Response:
        said = (
            issuer.claims(clock.now(), aud="gh", events=event, jti=uuid4().hex, sid="s1", roles=None)
            | changed
        )
        kept = {name: value for name, value in said.items() if value is not None}
        text = oauth.sign(signer or issuer.keys[0], "ES256", kept, typ="logout+jwt")
        return await door.post("/auth/oidc/backchannel-logout", data={"logout_token": text})

    for refused in (
        await tell(signer=oauth.key()),
        await tell(events=None),
        await tell(events={"other": {}}),
        await tell(nonce="n"),
        await tell(aud="other"),
        await tell(iss="https://nobody.example"),
        await tell(sid=None, sub=None),
        await tell(sid=7),
        await tell(exp=1),
        await tell(exp=int(clock.now().timestamp()) + 2 * 86_400),
        await tell(jti=None),
        await door.post("/auth/oidc/backchannel-logout", data={"logout_token": "x"}),
        await door.post("/auth/oidc/backchannel-logout", json={}),
    ):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert (await tell(sid="another")).status_code == 200
    assert (await door.get("/api/v1/me")).status_code == 200
    ended = await tell(sid=None, jti="once")  # by subject
    assert (ended.status_code, ended.headers["cache-control"]) == (200, "no-store")

    async def me() -> int:
        return (await door.get("/api/v1/me")).status_code

    await oauth.eventually(me, 401)
    again = await tell(sid=None, jti="once")  # it would end each later session of the subject
    assert (again.status_code, again.json()["error"]) == (400, "invalid_request")
    async with system_transaction(house.database) as tx:
        kept = "SELECT expires_at > $1 FROM spent_token_ids WHERE jti = 'once'"
        assert await tx.fetch_value(kept, clock.now()) is True
        actors = [
            row["actor"] for row in await tx.fetch("SELECT actor FROM audit_log WHERE action = 'session.end'")
        ]
    assert len(actors) == 1
    assert actors[0].startswith("issuer:")


async def test_a_suspended_member_or_tenant_does_not_come_in(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], issuer: OwnIssuer, clock: SetClock
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer, client_id="gh")

    async def sign_in() -> httpx.Response:
        answer = await door.get("/auth/oidc/login", params={"issuer": made["id"]})
        if answer.status_code != 303:
            return answer
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        tried = Begun(door, {name: values[0] for name, values in query.items()})
        issuer.tokens = {"id_token": id_token(issuer, clock, tried)}
        return await tried.come_back()

    assert (await sign_in()).status_code == 303
    for statement, code in (
        ("UPDATE members SET state = 'suspended'", "member_suspended"),
        ("UPDATE tenants SET state = 'suspended'", "tenant_suspended"),
    ):
        async with system_transaction(house.database) as tx:
            await tx.run(statement)
        answer = await sign_in()
        assert (answer.status_code, code in answer.text) == (403, True)
