from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import key_format
from guardhouse.identity.caller import judge
from guardhouse.identity.refusals import ApiKeyExpired, ApiKeyRevoked, ApiKeySuspended, TenantSuspended
from guardhouse.identity.store import change_key
from server.tests.identity import make

UNKNOWN = key_format.new_key("live")
GOOD = "gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], "api_key_missing"),
        ([("X-API-Key", "")], "api_key_missing"),
        ([("Authorization", "")], "api_key_missing"),
        ([("Authorization", "Bearer ")], "api_key_missing"),
        ([("Authorization", "Basic dTpw")], "api_key_missing"),
        ([("Authorization", "Basic dTpw"), ("X-API-Key", UNKNOWN)], "api_key_missing"),
        ([("X-API-Key", "sk-1234")], "api_key_malformed"),
        ([("X-API-Key", GOOD[:-1] + "X")], "api_key_malformed"),
        ([("X-API-Key", "g" * 10_000)], "api_key_malformed"),
        ([("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")], "invalid_token"),
        ([("X-API-Key", "eyJhbGciOiJub25lIn0.e30.")], "api_key_malformed"),
        (
            [("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30."), ("X-API-Key", UNKNOWN)],
            "ambiguous_credentials",
        ),
        ([("X-API-Key", UNKNOWN)], "api_key_unknown"),
        ([("Authorization", f"bearer {UNKNOWN}")], "api_key_unknown"),
        ([("X-API-Key", UNKNOWN), ("Authorization", f"Bearer {UNKNOWN}")], "api_key_unknown"),
        ([("X-API-Key", UNKNOWN), ("Authorization", f"Bearer {GOOD}")], "ambiguous_credentials"),
        ([("X-API-Key", UNKNOWN), ("X-API-Key", GOOD)], "ambiguous_credentials"),
        (
            [("Authorization", f"Bearer {UNKNOWN}"), ("Authorization", f"Bearer {GOOD}")],
            "ambiguous_credentials",
        ),
        ([("Authorization", f"Bearer {UNKNOWN}"), ("Authorization", "Basic dTpw")], "api_key_missing"),
    ],
)
async def test_what_is_no_one_credential_is_401_with_both_challenges(
    client: httpx.AsyncClient, headers: list[tuple[str, str]], expected: str
) -> None:
    answer = await client.get("/api/v1/me", headers=headers)
    assert code(answer) == (401, expected)
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="guardhouse"')
    assert 'ApiKey realm="guardhouse", header="X-API-Key"' in challenge


@pytest.mark.parametrize(
    "place", ["/api/v1/me?key={}", "/api/v1/me?{}=1", "/api/v1/agents/{}", "/nothing/{}", "/healthz?{}"]
)
async def test_a_key_in_any_url_is_told_and_not_repeated(client: httpx.AsyncClient, place: str) -> None:
    answer = await client.get(place.format(GOOD), headers=make.bearing(UNKNOWN))
    assert code(answer) == (400, "raw_key_in_url")
    assert GOOD[8:40] not in answer.text


async def test_the_caller_is_judged_before_a_byte_of_the_body_is_read(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{" * 2_000_000

    answer = await client.post("/api/v1/agents", content=body(), headers={"Content-Type": "application/json"})
    assert code(answer) == (401, "api_key_missing")
    assert read == []
    _, viewer = await make.key(resources, await make.tenant(resources), "viewer")
    answer = await client.post("/api/v1/agents", content=b"{not json", headers=make.bearing(viewer))
    assert code(answer) == (403, "scope_missing")
    assert answer.json()["required_scope"] == "agents:write"
    assert 'error="insufficient_scope", scope="agents:write"' in answer.headers["www-authenticate"]


async def test_states_of_keys_and_tenants(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    for state, expected in (("revoked", "api_key_revoked"), ("suspended", "api_key_suspended")):
        key, text = await make.key(resources, tenant)
        async with system_transaction(resources.database) as tx:
            await change_key(tx, key, {"state": state})
        assert code(await client.get("/api/v1/me", headers=make.bearing(text))) == (401, expected)
    _, text = await make.key(resources, tenant)
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE tenants SET state = 'suspended'")
    assert code(await client.get("/api/v1/me", headers=make.bearing(text))) == (403, "tenant_suspended")


async def test_expiry_is_to_the_instant(resources: Resources) -> None:
    key, _ = await make.key(resources, await make.tenant(resources), expires_in_days=1)
    assert key.expires_at is not None
    assert judge(key, key.expires_at - timedelta(microseconds=1)).role == "admin"
    with pytest.raises(ApiKeyExpired):
        judge(key, key.expires_at)


async def test_a_revoked_key_says_so_before_anything_else(resources: Resources) -> None:
    key, _ = await make.key(resources, await make.tenant(resources))
    now = resources.clock.now()
    for state, error in (("revoked", ApiKeyRevoked), ("suspended", ApiKeySuspended)):
        with pytest.raises(error):
            judge(replace(key, state=state, expires_at=now), now)
    with pytest.raises(TenantSuspended):
        judge(replace(key, tenant=replace(key.tenant, state="closed")), now)


async def test_me_says_who_it_is(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant, "viewer", scopes=("events:read",))
    answer = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}"})
    assert answer.json() == {
        "tenant": "acme", "tenant_id": str(tenant.id), "kind": "key", "role": "viewer", "scopes": ["events:read"],
        "credential_id": str(key.id), "project_id": None, "env": "live", "expires_at": None,
        "limits": {"per_minute": None, "per_day": None},
    }  # fmt: skip
    assert answer.headers["cache-control"] == "no-store"
