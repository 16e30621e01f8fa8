import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.registration import store
from guardhouse.identity.registration.invites import INVITED_SCOPES
from guardhouse.identity.registration.register import OPEN_SCOPES
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make

REGISTER = "/auth/register"


@asynccontextmanager
async def house(
    database_url: str, folder: Path, mode: str
) -> AsyncIterator[tuple[httpx.AsyncClient, Resources, SetClock]]:
    clock = SetClock()
    async with (
        opened(database_url, folder, clock=clock, registration=mode) as resources,
        api.client_of(resources) as client,
    ):
        yield client, resources, clock


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def me(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/v1/me", headers=make.bearing(text))).json()
    return found


async def invited(client: httpx.AsyncClient, admin: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/invites", json=wanted, headers=admin)
    assert answer.status_code == 201, answer.text
    invite: dict[str, Any] = answer.json()
    return invite


async def test_an_admin_registers_once_under_one_key_and_a_stranger_has_no_such_key(
    database_url: str, tmp_path: Path
) -> None:
    async with house(database_url, tmp_path, "open") as (client, resources, _):
        _, admin = await make.key(resources, await make.tenant(resources))
        wish, once = {"name": "app"}, {"Idempotency-Key": "first"}
        headers = make.bearing(admin) | once
        first, again = [await client.post(REGISTER, json=wish, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json()["key_id"] == first.json()["key_id"]
        assert (bool(first.json()["api_key"]), again.json()["api_key"]) == (True, None)
        assert told(await client.post(REGISTER, json={"name": "other"}, headers=headers)) == (
            409, "idempotency_key_reused",
        )  # fmt: skip
        strangers = [(await client.post(REGISTER, json=wish, headers=once)).json() for _ in range(2)]
        assert len({stranger["api_key"] for stranger in strangers} - {None}) == 2


async def test_closed_means_by_an_admin(database_url: str, tmp_path: Path) -> None:
    async with house(database_url, tmp_path, "closed") as (client, resources, _):
        tenant = await make.tenant(resources)
        _, admin = await make.key(resources, tenant)
        _, viewer = await make.key(resources, tenant, "viewer")
        wish = {"name": "app", "expires_in_days": 1, "something": "else"}
        assert told(await client.post(REGISTER, json=wish)) == (403, "registration_closed")
        code = (await invited(client, make.bearing(admin)))["code"]
        assert told(await client.post(REGISTER, json=wish | {"invite_code": code})) == (
            403,
            "registration_closed",
        )
        refused = await client.post(REGISTER, json=wish, headers=make.bearing(viewer))
        assert told(refused) == (403, "scope_missing")
        answer = await client.post(REGISTER, json=wish, headers=make.bearing(admin))
        assert answer.status_code == 201
        key = answer.json()
        assert set(key) == {
            "api_key", "key_id", "name", "rate_limit_per_minute", "rate_limit_per_day", "created_at", "expires_at",
        }  # fmt: skip
        assert (key["rate_limit_per_minute"], key["expires_at"]) == (60, "2026-01-02T00:00:00.000Z")
        found = await me(client, key["api_key"])
        assert (found["tenant"], found["scopes"]) == ("acme", sorted(INVITED_SCOPES))


async def test_an_invitation_is_good_for_its_uses_its_time_and_its_tenant(
    database_url: str, tmp_path: Path
) -> None:
    async with house(database_url, tmp_path, "invite") as (client, resources, clock):
        tenant = await make.tenant(resources)
        _, text = await make.key(resources, tenant)
        admin = make.bearing(text)
        assert told(await client.post(REGISTER, json={"name": "a"})) == (403, "registration_closed")

        async def register(code: str, **wanted: Any) -> httpx.Response:
            return await client.post(REGISTER, json={"name": "a", "invite_code": code} | wanted)

        invite = await invited(client, admin, max_uses=3, note="friends")
        answers = await asyncio.gather(*(register(invite["code"]) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [403] * 7
        assert {told(answer)[1] for answer in answers} == {"", "invite_invalid"}
        shown = (await client.get(f"/api/v1/invites/{invite['id']}", headers=admin)).json()
        assert (shown["uses"], shown["max_uses"], "code" in shown) == (3, 3, False)
        viewers = await invited(client, admin, role="viewer")
        key = (await register(viewers["code"])).json()
        assert (await me(client, key["api_key"]))["role"] == "viewer"
        for wrong in ("ghi_nothing", invite["code"][:-1], " "):
            assert told(await register(wrong)) == (403, "invite_invalid")
        revoked, expired = [await invited(client, admin, expires_in_days=1) for _ in range(2)]
        for _ in range(2):
            gone = await client.delete(f"/api/v1/invites/{revoked['id']}", headers=admin)
            assert gone.status_code == 200
        assert told(await register(revoked["code"])) == (403, "invite_invalid")
        greedy = await register(expired["code"], rate_limit_per_minute=61, rate_limit_per_day=10_001)
        assert told(greedy) == (422, "validation_failed")
        assert len(greedy.json()["errors"]) == 2
        clock.move(86_400)
        assert told(await register(expired["code"])) == (403, "invite_invalid")
        listed = (await client.get("/api/v1/invites", headers=admin)).json()["data"]
        assert len(listed) == 4
        assert invite["code"] not in str(listed)


@pytest.mark.parametrize(
    "body",
    [{"max_uses": 0}, {"max_uses": 1001}, {"expires_in_days": 0}, {"expires_in_days": 91}, {"note": ""},
     {"role": "platform"}, {"scopes": []}, {"surprise": 1}, {"note": "x" * 201}],
)  # fmt: skip
async def test_what_an_invitation_may_not_be(
    client: httpx.AsyncClient, resources: Resources, body: dict[str, Any]
) -> None:
    _, admin = await make.key(resources, await make.tenant(resources))
    answer = await client.post("/api/v1/invites", json=body, headers=make.bearing(admin))
    assert told(answer) == (422, "validation_failed")


async def test_an_invitation_gives_no_more_than_its_maker_has(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    _, weak = await make.key(resources, await make.tenant(resources), scopes=("keys:write", "events:read"))
    for body in ({"role": "viewer"}, {"role": "admin"}, {"role": "viewer", "scopes": ["keys:write"]}):
        answer = await client.post("/api/v1/invites", json=body, headers=make.bearing(weak))
        assert told(answer) == (403, "scope_escalation")
    body = {"role": "viewer", "scopes": ["events:read"]}
    assert (await client.post("/api/v1/invites", json=body, headers=make.bearing(weak))).status_code == 201


async def test_an_open_registration_is_a_tenant_of_its_own_five_an_hour(
    database_url: str, tmp_path: Path
) -> None:
    async with house(database_url, tmp_path, "open") as (client, resources, clock):
        answers = await asyncio.gather(*(client.post(REGISTER, json={"name": f"n{n}"}) for n in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [429] * 3
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert told(refused) == (429, "too_many_registrations")
        assert refused.headers["retry-after"] == "3600"
        found = [
            await me(client, answer.json()["api_key"]) for answer in answers if answer.status_code == 201
        ]
        assert len({caller["tenant_id"] for caller in found}) == 5
        assert all(caller["scopes"] == sorted(OPEN_SCOPES) for caller in found)
        clock.move(3599)
        assert (await client.post(REGISTER, json={"name": "x"})).headers["retry-after"] == "1"
        clock.move(1)
        assert (await client.post(REGISTER, json={"name": "x"})).status_code == 201
        async with system_transaction(resources.database) as tx:
            assert await tx.fetch_value("SELECT count(*) FROM audit_log WHERE action = 'key.create'") == 6
            await store.prune(tx, clock.now() - store.WINDOW)
            assert await tx.fetch_value("SELECT count(*) FROM registrations") in {1, 6}


async def test_a_registered_key_rotates_and_ends_itself(database_url: str, tmp_path: Path) -> None:
    async with house(database_url, tmp_path, "open") as (client, _, clock):
        old = (await client.post(REGISTER, json={"name": "app"})).json()
        answer = await client.post(
            "/auth/rotate-key", json={"grace_seconds": 60}, headers=make.bearing(old["api_key"])
        )
        assert answer.status_code == 201
        new = answer.json()
        assert set(new) == set(old)
        assert "tenant" in await me(client, old["api_key"])
        clock.move(60)
        async with asyncio.timeout(20):  # the caches learn of the rotation within a second
            while "tenant" in (said := await me(client, old["api_key"])):
                await asyncio.sleep(0.01)
        assert said["code"] == "api_key_revoked"
        gone = await client.delete("/auth/revoke", headers=make.bearing(new["api_key"]))
        assert gone.json() == {
            "message": "The key is revoked.", "key_id": new["key_id"], "revoked_at": "2026-01-01T00:01:00.000Z",
        }  # fmt: skip
        async with asyncio.timeout(20):
            while "tenant" in await me(client, new["api_key"]):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x" * 201}, {"name": "x", "rate_limit_per_minute": 0},
             {"name": "x", "expires_in_days": 0}, {"name": "x", "rate_limit_per_day": 10_001}],
)  # fmt: skip
async def test_what_is_wrong_with_a_registration_is_told(
    database_url: str, tmp_path: Path, body: dict[str, Any]
) -> None:
    async with house(database_url, tmp_path, "open") as (client, resources, _):
        assert told(await client.post(REGISTER, json=body)) == (422, "validation_failed")
        async with system_transaction(resources.database) as tx:
            assert await tx.fetch_value("SELECT count(*) FROM registrations") == 0


async def test_guessing_codes_is_a_failure_of_authentication(database_url: str, tmp_path: Path) -> None:
    async with house(database_url, tmp_path, "invite") as (client, _, _):
        for number in range(30):
            answer = await client.post(REGISTER, json={"name": "x", "invite_code": f"ghi_{number}"})
            assert told(answer) == (403, "invite_invalid")
        answer = await client.post(REGISTER, json={"name": "x", "invite_code": "ghi_x"})
        assert told(answer) == (429, "too_many_failures")
