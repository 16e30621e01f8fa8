"""The life of a key over the API: made, listed, changed, rotated, ended."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import expiry
from guardhouse.identity.roles import ROLES
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=SetClock(NOW)) as found:
        yield found


@pytest.fixture
def clock(house: Resources) -> SetClock:
    assert isinstance(house.clock, SetClock)
    return house.clock


@pytest.fixture
async def called(house: Resources) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client_of(house) as client:
        yield client


@pytest.fixture
async def admin(house: Resources) -> dict[str, str]:
    _, text = await make.key(house, await make.tenant(house))
    return make.bearing(text)


async def made(client: httpx.AsyncClient, admin: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/keys", json={"name": "ci"} | wanted, headers=admin)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"/api/v1/keys/{key['id']}"
    return key


async def becomes(client: httpx.AsyncClient, text: str, code: str) -> None:
    """Wait until a key is answered with a code, or served (``good``): a change is heard within a second."""
    found = ""
    async with asyncio.timeout(20):
        while found != code:
            answer = await client.get("/api/v1/me", headers=make.bearing(text))
            found = "good" if answer.status_code == 200 else str(answer.json()["code"])
            await asyncio.sleep(0.01)


async def said(house: Resources, kind: str) -> list[dict[str, Any]]:
    async with system_transaction(house.database) as tx:
        rows = await tx.fetch(
            "SELECT subject, subject_seq, severity, data::text FROM notices WHERE kind = $1", kind
        )
    return [dict(row) for row in rows]


async def recorded(house: Resources) -> list[str]:
    async with system_transaction(house.database) as tx:
        rows = await tx.fetch("SELECT action, actor FROM audit_log ORDER BY tenant_id, seq")
    return [row["action"] for row in rows]


async def test_a_key_of_the_api_has_limits_and_me_shows_them(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    key = await made(called, admin, expires_in_days=1, ip_allow=["127.0.0.1", "10.0.0.0/8", "127.0.0.1/32"])
    assert (key["rate_limit_per_minute"], key["rate_limit_per_day"]) == (60, 10_000)
    assert key["ip_allow"] == ["127.0.0.1/32", "10.0.0.0/8"]
    me = (await called.get("/api/v1/me", headers=make.bearing(key["api_key"]))).json()
    assert me["limits"] == {"per_minute": 60, "per_day": 10_000}
    assert (me["expires_at"], me["env"]) == ("2026-01-02T00:00:00.000Z", "live")
    unlimited = (await called.get("/api/v1/me", headers=admin)).json()
    assert unlimited["limits"] == {"per_minute": None, "per_day": None}


async def test_states_follow_from_time_alone(
    called: httpx.AsyncClient, admin: dict[str, str], clock: SetClock
) -> None:
    states = {}
    for name in ("active", "rotating", "suspended", "revoked", "expired"):
        states[name] = await made(called, admin, name=name, expires_in_days=1 if name == "expired" else 30)
    await called.patch(
        f"/api/v1/keys/{states['suspended']['id']}", json={"state": "suspended"}, headers=admin
    )
    await called.delete(f"/api/v1/keys/{states['revoked']['id']}", headers=admin)
    rotated = await called.post(
        f"/api/v1/keys/{states['rotating']['id']}/rotate", json={"grace_seconds": 2 * DAY}, headers=admin
    )
    assert rotated.status_code == 201, rotated.text
    clock.move(DAY)
    for state, key in states.items():
        assert (await called.get(f"/api/v1/keys/{key['id']}", headers=admin)).json()["state"] == state
        listed = (await called.get(f"/api/v1/keys?state={state}", headers=admin)).json()["data"]
        wanted = {state} | ({"test", "rotating"} if state == "active" else set())  # its own and the new one
        assert {found["name"] for found in listed} == wanted
        code = {"active": "good", "rotating": "good"}.get(state, f"api_key_{state}")
        await becomes(called, key["api_key"], code)
    clock.move(DAY)
    listed = (await called.get("/api/v1/keys?state=revoked", headers=admin)).json()["data"]
    assert {found["name"] for found in listed} == {"revoked", "rotating"}


async def test_rotation_overlaps_to_the_second(
    called: httpx.AsyncClient, admin: dict[str, str], clock: SetClock, house: Resources
) -> None:
    old = await made(called, admin, role="analyst", ip_allow=["127.0.0.0/8"], rate_limit_per_day=5)
    answer = await called.post(f"/api/v1/keys/{old['id']}/rotate", json={"grace_seconds": 60}, headers=admin)
    assert answer.status_code == 201
    new = answer.json()
    same = set(new) - {"id", "api_key", "prefix", "last4", "replaced_by"}
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    clock.move(59.9)
    served = await called.get("/api/v1/me", headers=make.bearing(old["api_key"]))
    assert served.status_code == 200
    assert served.headers["guardhouse-key-expires"] == "2026-01-01T00:01:00.000Z"
    fresh = await called.get("/api/v1/me", headers=make.bearing(new["api_key"]))
    assert "guardhouse-key-expires" not in fresh.headers
    clock.move(0.1)
    await becomes(called, old["api_key"], "api_key_revoked")
    await becomes(called, new["api_key"], "good")
    shown = (await called.get(f"/api/v1/keys/{old['id']}", headers=admin)).json()
    assert (shown["state"], shown["replaced_by"]) == ("revoked", new["id"])
    (notice,) = await said(house, "key.rotated")
    assert new["id"] in notice["data"]
    assert (await recorded(house)).count("key.rotate") == 1


async def test_without_a_grace_the_old_key_ends_at_once(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    old = await made(called, admin)
    new = (await called.post(f"/api/v1/keys/{old['id']}/rotate", headers=admin)).json()
    await becomes(called, old["api_key"], "api_key_revoked")
    await becomes(called, new["api_key"], "good")


async def test_only_an_active_key_is_rotated(
    called: httpx.AsyncClient, admin: dict[str, str], clock: SetClock
) -> None:
    async def rotate(key: dict[str, Any], **body: Any) -> tuple[int, str]:
        answer = await called.post(f"/api/v1/keys/{key['id']}/rotate", json=body, headers=admin)
        return answer.status_code, answer.json().get("code", "")

    revoked, rotating, expired, suspended = [await made(called, admin, expires_in_days=1) for _ in range(4)]
    await called.delete(f"/api/v1/keys/{revoked['id']}", headers=admin)
    await called.patch(f"/api/v1/keys/{suspended['id']}", json={"state": "suspended"}, headers=admin)
    assert await rotate(rotating, grace_seconds=604_800) == (201, "")
    clock.move(DAY - 1)
    for key in (revoked, rotating, suspended):
        assert await rotate(key) == (409, "conflict")
    clock.move(1)
    assert await rotate(expired) == (409, "conflict")
    for grace in (-1, 604_801, "soon"):
        assert await rotate(expired, grace_seconds=grace) == (422, "validation_failed")


async def test_an_admin_renews_a_key_that_ends_and_a_key_does_not_renew_itself(
    called: httpx.AsyncClient, admin: dict[str, str], clock: SetClock
) -> None:
    key = await made(called, admin, expires_in_days=2)
    clock.move(DAY)
    mine = make.bearing(key["api_key"])
    own = (await called.post(f"/api/v1/keys/{key['id']}/rotate", headers=mine)).json()
    assert own["expires_at"] == "2026-01-03T00:00:00.000Z"
    renewed = (await called.post(f"/api/v1/keys/{own['id']}/rotate", headers=admin)).json()
    assert renewed["expires_at"] == "2026-01-03T00:00:00.000Z"  # what was made for a day lives for a day


async def test_changes_keep_to_what_a_key_is(
    called: httpx.AsyncClient, admin: dict[str, str], house: Resources
) -> None:
    key = await made(called, admin, role="analyst")
    path = f"/api/v1/keys/{key['id']}"
    changed = await called.patch(
        path,
        json={
            "name": "new",
            "scopes": ["events:read"],
            "rate_limit_per_minute": 7,
            "ip_allow": ["10.0.0.0/8"],
        },
        headers=admin,
    )
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] == '"2"'
    shown = changed.json()
    assert (shown["name"], shown["scopes"], shown["rate_limit_per_minute"]) == ("new", ["events:read"], 7)
    await becomes(called, key["api_key"], "address_not_allowed")
    again = await called.patch(path, json={"name": "new"}, headers=admin)
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')
    gained = await called.patch(path, json={"scopes": ["events:read", "scores:read"]}, headers=admin)
    assert (gained.status_code, gained.json()["code"]) == (403, "scope_escalation")
    refused: tuple[dict[str, object], ...] = (
        {"name": ""}, {"state": "revoked"}, {"rate_limit_per_day": 0}, {"ip_allow": ["x"]}, {"role": "admin"},
        {"scopes": []}, {"env": "test"}, {"ip_allow": ["0.0.0.0/0"] * 51},
    )  # fmt: skip
    for body in refused:
        assert (await called.patch(path, json=body, headers=admin)).status_code == 422, body
    async with system_transaction(house.database) as tx:
        row = await tx.fetch_row(
            "SELECT before::text, after::text FROM audit_log WHERE action = 'key.update'"
        )
    assert row is not None
    assert '"rate_limit_per_minute": 60' in row["before"]
    assert '"name": "new"' in row["after"]


async def test_an_edit_of_an_older_version_is_refused(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    key = await made(called, admin)
    path = f"/api/v1/keys/{key['id']}"
    tag = (await called.get(path, headers=admin)).headers["etag"]
    assert (
        await called.patch(path, json={"name": "b"}, headers=admin | {"If-Match": tag})
    ).status_code == 200
    late = await called.patch(path, json={"name": "c"}, headers=admin | {"If-Match": tag})
    assert (late.status_code, late.json()["code"], late.headers["etag"]) == (
        412,
        "precondition_failed",
        '"2"',
    )


async def test_suspension_is_taken_back_and_an_end_is_not(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    key = await made(called, admin)
    path = f"/api/v1/keys/{key['id']}"
    for state, code in (("suspended", "api_key_suspended"), ("active", "good")):
        assert (await called.patch(path, json={"state": state}, headers=admin)).json()["state"] == state
        await becomes(called, key["api_key"], code)
    await called.delete(path, headers=admin)
    answer = await called.patch(path, json={"state": "active"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_a_key_without_rights_over_keys_reaches_itself_only(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    mine, other = [await made(called, admin, role="viewer", name=name) for name in ("mine", "other")]
    headers = make.bearing(mine["api_key"])
    assert [key["id"] for key in (await called.get("/api/v1/keys", headers=headers)).json()["data"]] == [
        mine["id"]
    ]
    assert (await called.get(f"/api/v1/keys/{mine['id']}", headers=headers)).status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/revoke")):
        answer = await called.request(method, f"/api/v1/keys/{other['id']}{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    changed = await called.patch(f"/api/v1/keys/{mine['id']}", json={"name": "x"}, headers=headers)
    assert (changed.status_code, changed.json()["code"]) == (403, "scope_missing")
    new = (await called.post(f"/api/v1/keys/{mine['id']}/rotate", headers=headers)).json()
    assert new["scopes"] == sorted(ROLES["viewer"])
    gone = await called.delete(f"/api/v1/keys/{new['id']}", headers=make.bearing(new["api_key"]))
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    await becomes(called, other["api_key"], "good")


async def test_the_text_of_a_stronger_key_is_not_to_be_had(
    called: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    weak = await made(called, admin, role="admin", scopes=["keys:write", "keys:read", "events:read"])
    strong = await made(called, admin, role="admin")
    answer = await called.post(f"/api/v1/keys/{strong['id']}/rotate", headers=make.bearing(weak["api_key"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    await becomes(called, strong["api_key"], "good")


async def test_all_keys_are_revoked_but_the_calling_one(
    called: httpx.AsyncClient, admin: dict[str, str], house: Resources
) -> None:
    others = [await made(called, admin) for _ in range(3)]
    answer = await called.post("/api/v1/keys/revoke-all", headers=admin)
    assert answer.status_code == 200
    assert set(answer.json()["revoked"]) == {key["id"] for key in others}
    for key in others:
        await becomes(called, key["api_key"], "api_key_revoked")
    assert len(await said(house, "key.revoked")) == 3
    assert (await called.post("/api/v1/keys/revoke-all", headers=admin)).json() == {"revoked": []}
    itself = await called.post("/api/v1/keys/revoke-all", json={"except_current": False}, headers=admin)
    assert len(itself.json()["revoked"]) == 1
    await becomes(called, admin["X-API-Key"], "api_key_revoked")


async def test_a_gateway_may_ask_about_keys_of_its_own_tenant(
    called: httpx.AsyncClient, admin: dict[str, str], house: Resources
) -> None:
    async def ask(text: str) -> dict[str, Any]:
        answer = await called.post("/api/v1/keys/verify", json={"key": text}, headers=admin)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    key = await made(called, admin, role="agent", scopes=["events:write"], expires_in_days=1)
    assert await ask(key["api_key"]) == {
        "valid": True, "code": None, "key_id": key["id"], "scopes": ["events:write"],
        "expires_at": "2026-01-02T00:00:00.000Z", "ratelimit": {"per_minute": 60, "per_day": 10_000},
    }  # fmt: skip
    await called.delete(f"/api/v1/keys/{key['id']}", headers=admin)
    assert (await ask(key["api_key"]))["code"] == "api_key_revoked"
    _, foreign = await make.key(house, await make.tenant(house, "other"))
    unknown = await ask("gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW")
    assert await ask(foreign) == unknown
    assert (unknown["valid"], unknown["code"]) == (False, "api_key_unknown")
    assert (await ask(foreign[:-1] + "!"))["code"] == "api_key_malformed"


async def test_the_end_of_a_key_is_told_a_week_ahead_and_once(
    called: httpx.AsyncClient, admin: dict[str, str], house: Resources, clock: SetClock
) -> None:
    async def tell() -> int:
        async with system_transaction(house.database) as tx:
            return await expiry.tell_expiring(tx, clock.now())

    key = await made(called, admin, expires_in_days=8)
    revoked = await made(called, admin, expires_in_days=8)
    await called.delete(f"/api/v1/keys/{revoked['id']}", headers=admin)
    await made(called, admin)
    clock.move(DAY - 1)
    assert await tell() == 0
    clock.move(1)
    assert [await tell(), await tell()] == [1, 0]
    (notice,) = await said(house, "key.expiring")
    assert notice["subject"] == f"key:{key['id']}"
    assert notice["severity"] == "medium"
    assert "2026-01-09" in notice["data"]
    renewed = (await called.post(f"/api/v1/keys/{key['id']}/rotate", headers=admin)).json()
    assert renewed["expires_at"] == "2026-01-10T00:00:00.000Z"
    clock.move(2 * DAY)
    assert await tell() == 1  # the new key has a week of its own


async def test_a_key_of_a_project_makes_keys_of_that_project(
    called: httpx.AsyncClient, house: Resources
) -> None:
    tenants = [await make.tenant(house, slug) for slug in ("a", "b")]
    async with system_transaction(house.database) as tx:
        projects = []
        for tenant in tenants:
            projects.append(uuid4())
            await tx.run(
                "INSERT INTO projects (project_id, tenant_id, slug, external_ids, state, settings, created_at)"
                " VALUES ($1, $2, 'p', '{}', 'active', '{}', now())",
                projects[-1],
                tenant.id,
            )
    _, text = await make.key(house, tenants[0], project_id=projects[0])
    headers = make.bearing(text)
    key = await made(called, headers)
    assert key["project_id"] == str(projects[0])
    other = await called.post(
        "/api/v1/keys", json={"name": "x", "project_id": str(projects[1])}, headers=headers
    )
    assert (other.status_code, other.json()["code"]) == (403, "scope_escalation")
    _, free = await make.key(house, tenants[0])
    foreign, nothing = [
        await called.post("/api/v1/keys", json={"name": "x", "project_id": p}, headers=make.bearing(free))
        for p in (str(projects[1]), str(uuid4()))
    ]
    assert foreign.status_code == nothing.status_code == 422
    assert foreign.json()["errors"][0]["pointer"] == nothing.json()["errors"][0]["pointer"] == "/project_id"
