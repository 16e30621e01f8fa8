import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import jobs, keys, members, session_cookie, sessions
from guardhouse.identity.people import store as people_store
from guardhouse.identity.people.store import Session
from guardhouse.identity.roles import ROLES
from guardhouse.identity.session_cache import SessionCache
from guardhouse.identity.sessions import SessionFor
from guardhouse.identity.store import ApiKey, Tenant
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make

COOKIE = "gh_session"
CONSOLE = {"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def resources(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=clock) as found:
        yield found


@pytest.fixture
async def acme(resources: Resources) -> tuple[Tenant, ApiKey, str]:
    tenant = await make.tenant(resources)
    return tenant, *await make.key(resources, tenant)


async def sign_in(client: httpx.AsyncClient, text: str, **headers: str) -> str:
    """Sign in with a key; return the cookie's value and leave no cookie in the client."""
    answer = await client.post("/auth/session", json={"api_key": text}, headers=headers)
    assert answer.status_code == 201, answer.text
    value = answer.cookies[COOKIE]
    client.cookies.clear()
    return value


def carrying(value: str, **more: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={value}", **more}


async def open_for_member(resources: Resources, tenant: Tenant, **wanted: Any) -> tuple[str, Session, UUID]:
    async with system_transaction(resources.database) as tx:
        member = await members.upsert_member(
            tx, tenant.key, "https://id.example", "ada", email=None, name=None, role="analyst"
        )
        made = SessionFor(tenant.key, member.role, ROLES[member.role], member_id=member.id, **wanted)
        return *await sessions.open_session(tx, resources, made), member.id


async def test_a_key_opens_a_session_that_can_do_what_it_can(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    _, key, text = acme
    answer = await client.post("/auth/session", json={"api_key": text})
    assert answer.headers["cache-control"] == "no-store"
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("Lax", "/", "43200")
    assert not cookie["secure"]
    assert not cookie["domain"]
    assert len(cookie.value) == 43
    session = answer.json()
    assert (session["opened_by"], session["holder_id"], session["current"]) == ("key", str(key.id), True)
    me = (await client.get("/api/v1/me")).json()
    assert (me["kind"], me["role"], me["credential_id"]) == ("key", "admin", str(key.id))
    (listed,) = (await client.get("/api/v1/sessions")).json()["data"]
    assert listed == session
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT * FROM sessions")
        recorded = await tx.fetch("SELECT action, actor, credential FROM audit_log ORDER BY seq")
    assert row is not None
    assert cookie.value not in str(row)
    assert [tuple(entry) for entry in recorded][-1] == (
        "session.open",
        f"key:{key.id}",
        f"session:{session['id']}",
    )


def test_under_tls_the_cookie_is_bound_to_the_host() -> None:
    header = session_cookie.set_cookie("https://guard.example", "x")
    assert header.startswith("__Host-gh_session=x; Path=/; ")
    assert header.endswith("; HttpOnly; SameSite=Lax; Secure")
    assert "Max-Age=0" in session_cookie.clear_cookie("https://guard.example")


async def test_signing_in_again_never_keeps_an_id(
    client: httpx.AsyncClient, acme: tuple[Tenant, ApiKey, str]
) -> None:
    first = await sign_in(client, acme[2])
    second = await sign_in(client, acme[2], **carrying(first))
    assert first != second
    assert (await client.get("/api/v1/me", headers=carrying(first))).json()["code"] == "session_expired"
    assert (await client.get("/api/v1/me", headers=carrying(second))).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Guardhouse-Console": "1"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "same-site"}, 403),
        ({"X-Guardhouse-Console": "0", "Sec-Fetch-Site": "same-origin"}, 403),
        (CONSOLE, 201),
    ],
)
async def test_a_change_by_cookie_needs_our_own_page(
    client: httpx.AsyncClient, acme: tuple[Tenant, ApiKey, str], headers: dict[str, str], status: int
) -> None:
    value = await sign_in(client, acme[2])
    answer = await client.post("/api/v1/keys", json={"name": "x"}, headers=carrying(value, **headers))
    assert answer.status_code == status
    assert status == 201 or answer.json()["code"] == "csrf_refused"
    assert (await client.get("/api/v1/keys", headers=carrying(value))).status_code == 200


async def test_another_credential_leaves_the_cookie_out(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    value = await sign_in(client, acme[2])
    _, viewer = await make.key(resources, acme[0], "viewer")
    me = await client.get("/api/v1/me", headers=carrying(value, **make.bearing(viewer)))
    assert me.json()["role"] == "viewer"
    wrong = await client.get("/api/v1/me", headers=carrying(value, Authorization="Basic eDp5"))
    assert wrong.status_code == 401
    made = await client.post(
        "/api/v1/keys", json={"name": "x"}, headers=carrying(value, **make.bearing(acme[2]))
    )
    assert made.status_code == 201


@pytest.mark.parametrize("value", ["", "x", "a" * 43, "é" * 43, "a" * 4000, '"quoted"'])
async def test_a_cookie_that_is_none_of_ours(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/api/v1/me", headers=[(b"cookie", f"{COOKIE}={value}".encode())])
    assert answer.status_code == 401
    assert answer.json()["code"] == "session_expired"
    assert "www-authenticate" in answer.headers


async def test_sign_out_ends_the_session_and_takes_the_cookie_away(
    client: httpx.AsyncClient, acme: tuple[Tenant, ApiKey, str]
) -> None:
    value = await sign_in(client, acme[2])
    refused = await client.delete("/auth/session", headers=carrying(value))
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_refused")
    done = await client.delete("/auth/session", headers=carrying(value, **CONSOLE))
    assert done.status_code == 204
    assert "Max-Age=0" in done.headers["set-cookie"]
    async with asyncio.timeout(5):
        while (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200:
            await asyncio.sleep(0.01)
    nothing = await client.delete("/auth/session", headers=make.bearing(acme[2]))
    assert nothing.status_code == 204


@pytest.mark.parametrize("state", ["revoked", "suspended"])
async def test_a_session_dies_with_its_key(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str], state: str
) -> None:
    tenant, key, text = acme
    value = await sign_in(client, text)
    assert (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200
    async with system_transaction(resources.database) as tx:
        if state == "revoked":
            await keys.revoke_key(tx, tenant.id, key.id, revoked_by="test")
        else:
            await tx.run("UPDATE api_keys SET state = 'suspended'")
            await tx.run("SELECT pg_notify('identity', '')")
    async with asyncio.timeout(5):
        while (answer := await client.get("/api/v1/me", headers=carrying(value))).status_code == 200:
            await asyncio.sleep(0.01)
    assert (answer.status_code, answer.json()["code"]) == (401, f"api_key_{state}")


async def test_twelve_hours_or_one_without_use(
    client: httpx.AsyncClient, clock: SetClock, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    value = await sign_in(client, acme[2])
    for _ in range(13):
        clock.move(50 * 60)
        assert (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200
    clock.move(50 * 60)  # 11 h 40 min
    assert (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200
    clock.move(20 * 60)
    over = await client.get("/api/v1/me", headers=carrying(value))
    assert (over.status_code, over.json()["code"]) == (401, "session_expired")
    value = await sign_in(client, acme[2])
    clock.move(60 * 60)
    over = await client.get("/api/v1/me", headers=carrying(value))
    assert (over.status_code, over.json()["code"]) == (401, "session_expired")
    async with system_transaction(resources.database) as tx:
        await people_store.prune(tx, clock.now(), clock.now() - sessions.IDLE)
        assert await tx.fetch_value("SELECT count(*) FROM sessions") == 0


async def test_use_is_written_and_another_process_believes_it(
    resources: Resources, clock: SetClock, acme: tuple[Tenant, ApiKey, str]
) -> None:
    cache = SessionCache(lambda: True)
    value, session, _ = await open_for_member(resources, acme[0])
    clock.move(59 * 60)
    cache.mark_seen(session.id, clock.now())
    await jobs.write_last_seen(resources, cache)
    clock.move(59 * 60)
    async with api.client_of(resources) as client:
        assert (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200


def test_the_cache_forgets_in_time() -> None:
    now, connected = 0.0, True
    cache = SessionCache(lambda: connected, lambda: now)
    found = sessions.Presented(_session(), None)
    cache.put(b"d", found, cache.generation)
    now = 29.0
    assert cache.find(b"d") is found
    connected = False
    assert cache.find(b"d") is None  # deaf: a second at most
    connected, now = True, 31.0
    assert cache.find(b"d") is None
    before = cache.generation
    cache.drop()
    cache.put(b"d", found, before)
    assert cache.find(b"d") is None  # looked up before the change


def _session() -> Session:
    tenant = Tenant(uuid4(), 1, "acme", "Acme", "active", "live", None, datetime.now(UTC))
    instant = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    return Session(
        uuid4(), tenant, b"d", uuid4(), None, None, "viewer", (), None, None, None, instant, instant, instant,
        None, None,
    )  # fmt: skip


async def test_a_change_of_role_ends_the_sessions(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    value, _, member_id = await open_for_member(resources, acme[0])
    me = (await client.get("/api/v1/me", headers=carrying(value))).json()
    assert (me["kind"], me["role"], me["credential_id"]) == ("user", "analyst", str(member_id))
    changed = await client.patch(
        f"/api/v1/members/{member_id}", json={"role": "viewer"}, headers=make.bearing(acme[2])
    )
    assert changed.status_code == 200
    async with asyncio.timeout(5):
        while (await client.get("/api/v1/me", headers=carrying(value))).status_code == 200:
            await asyncio.sleep(0.01)


async def test_the_issuer_ends_sessions_by_its_names(
    resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    tenant, issuer = acme[0], uuid4()
    for sid in ("s1", "s2"):
        await open_for_member(resources, tenant, issuer_id=issuer, sid=sid, sub="ada")
    async with system_transaction(resources.database) as tx:
        assert await sessions.end_sessions(tx, tenant.key, sid="s1") == 1
        assert await sessions.end_sessions(tx, TenantKey(uuid4(), 99), sub="ada") == 0
        assert await sessions.end_sessions(tx, tenant.key, sub="ada", issuer_id=uuid4()) == 0
        assert await sessions.end_sessions(tx, tenant.key, sub="ada", issuer_id=issuer) == 1
        with pytest.raises(ValueError, match="name the session"):
            await sessions.end_sessions(tx, tenant.key)


async def test_everybody_sees_and_ends_their_own(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    tenant, key, text = acme
    viewer, viewers = await make.key(resources, tenant, "viewer")
    _, foreign = await make.key(resources, await make.tenant(resources, "other"))
    mine, theirs = await sign_in(client, viewers), await sign_in(client, text)
    own = (await client.get("/api/v1/sessions", headers=make.bearing(viewers))).json()["data"]
    assert [session["holder_id"] for session in own] == [str(viewer.id)]
    everybody = (await client.get("/api/v1/sessions", headers=carrying(theirs))).json()["data"]
    assert [session["holder_id"] for session in everybody] == [str(key.id), str(viewer.id)]
    assert [session["current"] for session in everybody] == [True, False]
    admins, viewers_own = everybody[0]["id"], everybody[1]["id"]
    assert (await client.get("/api/v1/sessions", headers=make.bearing(foreign))).json()["data"] == []
    for headers in (make.bearing(viewers), make.bearing(foreign)):
        refused = await client.delete(f"/api/v1/sessions/{admins}", headers=headers)
        unknown = await client.delete(f"/api/v1/sessions/{uuid4()}", headers=headers)
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["detail"] == unknown.json()["detail"]
    ended = await client.delete(f"/api/v1/sessions/{viewers_own}", headers=make.bearing(viewers))
    assert ended.status_code == 204
    async with asyncio.timeout(5):
        while (await client.get("/api/v1/me", headers=carrying(mine))).status_code == 200:
            await asyncio.sleep(0.01)
    again = await client.delete(f"/api/v1/sessions/{viewers_own}", headers=make.bearing(text))
    assert again.status_code == 404


async def test_pages_of_sessions(client: httpx.AsyncClient, acme: tuple[Tenant, ApiKey, str]) -> None:
    for _ in range(3):
        await sign_in(client, acme[2])
    seen, query = [], "limit=2"
    while query:
        page = (await client.get(f"/api/v1/sessions?{query}", headers=make.bearing(acme[2]))).json()
        seen += [session["id"] for session in page["data"]]
        cursor = page["pagination"]["cursor"]
        query = f"limit=2&cursor={cursor}" if cursor else ""
    assert len(set(seen)) == len(seen) == 3


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "validation_failed"),
        ({"api_key": ""}, 422, "validation_failed"),
        ({"api_key": 5}, 422, "validation_failed"),
        ({"api_key": "a" * 201}, 422, "validation_failed"),
        ({"api_key": "x", "more": 1}, 422, "validation_failed"),
        ({"api_key": "gh_live_x"}, 401, "api_key_malformed"),
        ({"api_key": "gh_live_00000000000000000000000000000000_SaHVT2z3"}, 401, "api_key_unknown"),
    ],
)
async def test_what_opens_no_session(
    client: httpx.AsyncClient, body: dict[str, object], status: int, code: str
) -> None:
    answer = await client.post("/auth/session", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "set-cookie" not in answer.headers


async def test_another_site_cannot_sign_a_browser_in(
    client: httpx.AsyncClient, acme: tuple[Tenant, ApiKey, str]
) -> None:
    answer = await client.post(
        "/auth/session", json={"api_key": acme[2]}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")


async def test_a_refused_sign_in_is_recorded(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    tenant, key, text = acme
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await keys.revoke_key(tx, tenant.id, key.id, revoked_by="test")
    answer = await client.post("/auth/session", json={"api_key": text})
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_revoked")
    async with system_transaction(resources.database) as tx:
        last = await tx.fetch_row("SELECT * FROM audit_log ORDER BY seq DESC LIMIT 1")
    assert last is not None
    assert (last["action"], last["actor"], last["after"]) == (
        "session.refuse", f"key:{key.id}", {"code": "api_key_revoked"},
    )  # fmt: skip
    assert not re.search(r"gh_live_\w{32}", str(last))


async def test_a_keys_networks_bind_its_sessions_too(
    client: httpx.AsyncClient, resources: Resources, acme: tuple[Tenant, ApiKey, str]
) -> None:
    value = await sign_in(client, acme[2])
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE api_keys SET ip_allow = '{192.0.2.0/24}'")
    refused = await client.post("/auth/session", json={"api_key": acme[2]})
    assert (refused.status_code, refused.json()["code"]) == (403, "address_not_allowed")
    refused = await client.get("/api/v1/me", headers=carrying(value))
    assert (refused.status_code, refused.json()["code"]) == (403, "address_not_allowed")


async def test_guessing_is_slowed_down(client: httpx.AsyncClient) -> None:
    answers = []
    for _ in range(16):
        answers += [
            await client.post("/auth/session", json={"api_key": "gh_live_x"}),
            await client.get("/auth/link?token=ghl_x"),
        ]
    assert {answer.status_code for answer in answers[:30]} == {401, 410}
    assert [answer.json()["code"] for answer in answers[30:]] == ["too_many_failures"] * 2
    assert "retry-after" in answers[-1].headers
