import asyncio
from typing import Any

import httpx
import pytest

from guardhouse.foundation.clock import Clock, SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.identity.roles import ROLES
from server.tests.components.oidc_provider import oidc_provider
from server.tests.identity import make
from server.tests.identity.issuers import make as issuers
from server.tests.identity.issuers.make import OwnIssuer
from server.tests.identity.oauth import make as oauth

URL = issuers.URL


async def me(client: httpx.AsyncClient, text: str) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/api/v1/me", headers=oauth.bearing(text))
    return answer.status_code, answer.json()


async def test_a_real_providers_token_is_a_caller(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock
) -> None:
    clock.instant = Clock().now()
    async with oidc_provider("http://127.0.0.1:8000") as provider:
        await issuers.trust(door, chief, provider.issuer, audience="http://127.0.0.1:8000/api")
        text = await provider.robot_token("http://127.0.0.1:8000/api")
        status, who = await me(door, text)
        assert (status, who["kind"], who["role"], who["tenant"]) == (200, "user", "viewer", "acme")
        assert who["scopes"] == sorted(ROLES["viewer"])
        await provider.control(rotate=True, person={"sub": "ada", "roles": ["chiefs"]})
        clock.move(61)  # an unknown key is asked for once a minute
        status, who = await me(door, await provider.robot_token("http://127.0.0.1:8000/api"))
        assert (status, who["role"]) == (200, "admin")
        for_others = await provider.robot_token("https://elsewhere.example")
        status, problem = await me(door, for_others)
        assert (status, problem["code"]) == (401, "invalid_token")
        await provider.control(person={"sub": "ada", "roles": ["guests"]})
        status, problem = await me(door, await provider.robot_token("http://127.0.0.1:8000/api"))
        assert (status, problem["code"], problem["claim"]) == (403, "no_role_mapped", "roles")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": -61}, None),
        ({"exp": None}, "the token has no exp"),
        ({"nbf": 120}, "nbf is in the future"),
        ({"iat": 120}, "iat is in the future"),
        ({"aud": "https://elsewhere.example"}, "the token is for another audience"),
        ({"aud": None}, "the token is for another audience"),
        ({"aud": [7]}, "the token is for another audience"),
        ({"sub": None}, "sub is not a text of 1 to 255 characters"),
        ({"sub": "\0"}, "sub is not a text of 1 to 255 characters"),
        ({"exp": "soon"}, "exp is not a number of seconds"),
        ({"exp": True}, "exp is not a number of seconds"),
    ],
)
async def test_signed_tokens_are_told_what_is_wrong(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer,
    changed: dict[str, Any], reason: str | None,
) -> None:  # fmt: skip
    await issuers.trust(door, chief, issuer.issuer)
    now = clock.now()
    moved = {
        name: int(now.timestamp()) + value
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in changed.items()
    }
    answer = await door.get("/api/v1/me", headers=oauth.bearing(issuer.token(now, **moved)))
    assert answer.json()["code"] == ("token_expired" if reason is None else "invalid_token")
    said = reason or "the token has expired"
    assert f'error="invalid_token", error_description="{said}"' in answer.headers["www-authenticate"]


async def test_what_is_not_signed_by_the_issuer_is_told_nothing(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    weak = oauth.key("RSA", "k2")
    issuer.keys.append(weak)
    await issuers.trust(door, chief, issuer.issuer)
    now, mine = clock.now(), oauth.key()
    claims = issuer.claims(now)
    public_pem = issuer.keys[0].as_pem(private=False)
    for text in (
        oauth.sign(mine, "ES256", claims),
        oauth.sign(oauth.key(kid="other"), "ES256", claims),
        oauth.sign(mine, "ES256", claims, jku=f"{issuer.issuer}/jwks", jwk=oauth.public(mine)["keys"][0]),
        oauth.sign(weak, "RS256", claims),  # a good key, an algorithm that is not allowed
        oauth.sign(issuer.keys[0], "ES256", claims, crit=["kid"]),
        oauth.sign(issuer.keys[0], "ES256", claims, typ="logout+jwt"),
        oauth.sign(issuer.keys[0], "ES256", claims | {"pad": "x" * 8192}),
        oauth.sign(issuer.keys[0], "ES256", claims | {"iss": issuer.issuer + "/"}),
        oauth.forged({"alg": "none", "kid": "k1"}, claims),
        oauth.forged({"alg": "HS256", "kid": "k1"}, claims, public_pem[:32]),
        oauth.forged({"alg": "ES256", "kid": ["k1"]}, claims, b"x" * 64),
    ):
        answer = await door.get("/api/v1/me", headers=oauth.bearing(text))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), text
        assert "error_description" not in answer.headers["www-authenticate"]
    assert (await me(door, issuer.token(now)))[0] == 200


async def test_a_storm_of_unknown_keys_asks_once_a_minute(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    await issuers.trust(door, chief, issuer.issuer)
    assert (await me(door, issuer.token(clock.now())))[0] == 200
    stranger = oauth.key(kid="storm")
    texts = [oauth.sign(stranger, "ES256", issuer.claims(clock.now(), n=n)) for n in range(30)]
    answers = await asyncio.gather(*(me(door, text) for text in texts))
    assert {status for status, _ in answers} == {401}
    assert issuer.count("/jwks") == 1
    assert issuer.count("/.well-known/openid-configuration") == 1


async def test_many_first_tokens_at_once_ask_once(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    await issuers.trust(door, chief, issuer.issuer)
    answers = await asyncio.gather(*(me(door, issuer.token(clock.now(), n=n)) for n in range(20)))
    assert {status for status, _ in answers} == {200}
    assert (issuer.count("/jwks"), issuer.count("/.well-known/openid-configuration")) == (1, 1)


async def test_an_issuer_that_never_answered_is_503_and_nothing_else_suffers(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    issuer.down = True
    await issuers.trust(door, chief, issuer.issuer)
    answer = await door.get("/api/v1/me", headers=oauth.bearing(issuer.token(clock.now())))
    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await door.get("/api/v1/me", headers=chief)).status_code == 200


async def test_keys_are_fresh_for_an_hour_and_last_good_ones_serve_a_day(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    await issuers.trust(door, chief, issuer.issuer)
    number = 0

    async def again(seconds: float) -> int:
        nonlocal number
        number += 1
        clock.move(seconds)
        return (await me(door, issuer.token(clock.now(), n=number)))[0]

    assert [await again(0), await again(3599)] == [200, 200]
    assert issuer.count("/jwks") == 1
    assert await again(1) == 200
    assert issuer.count("/jwks") == 2
    issuer.down = True
    assert [await again(7200), await again(10), await again(79_000)] == [200, 200, 200]
    assert await again(300) == 503
    issuer.down = False
    assert await again(60) == 200


async def test_scopes_narrow_the_role_and_an_absent_claim_gives_none(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    await issuers.trust(
        door, chief, issuer.issuer, role_claim="realm_access.roles", scope_claim="scope",
        scope_map={"read": ["events:read", "scores:read"], "all": ["keys:write"]},
    )  # fmt: skip
    nested = {"realm_access": {"roles": ["staff"]}, "roles": None}
    for scope, expected in (
        ("read", ["events:read", "scores:read"]),
        ("all agents:read", ["agents:read"]),
        ("unknown", []),
        (None, []),
    ):
        status, who = await me(door, issuer.token(clock.now(), scope=scope, **nested))
        assert (status, who["role"], who["scopes"]) == (200, "viewer", expected)
    for wrong in (
        {},
        {"realm_access": "x"},
        {"realm_access": {"roles": 7}},
        {"realm_access.roles": ["chiefs"]},
    ):
        status, said = await me(door, issuer.token(clock.now(), roles=None, scope="read", **wrong))
        assert (status, said.get("role")) == (
            (200, "admin") if "realm_access.roles" in wrong else (403, None)
        )


async def test_the_strongest_of_several_roles_counts(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    await issuers.trust(door, chief, issuer.issuer)
    assert (await me(door, issuer.token(clock.now(), roles=["staff", "x", "chiefs"])))[1]["role"] == "admin"
    assert (await me(door, issuer.token(clock.now(), roles="staff")))[1]["role"] == "viewer"


async def test_two_tenants_share_an_issuer_by_audience_or_organisation(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    other = make.bearing((await make.key(house, await make.tenant(house, "other")))[1])
    await issuers.trust(door, chief, issuer.issuer, tenant_claim="org", tenant_value="acme")
    await issuers.trust(door, other, issuer.issuer, tenant_claim="org", tenant_value="other")
    for org in ("acme", "other"):
        assert (await me(door, issuer.token(clock.now(), org=org)))[1]["tenant"] == org
    strangers: list[Any] = ["third", None, 7]
    for other_org in strangers:
        status, problem = await me(door, issuer.token(clock.now(), org=other_org))
        assert (status, problem["detail"]) == (
            401,
            "The token is refused: the token is of another organisation.",
        )


async def test_a_later_tenant_cannot_take_over_anothers_tokens(
    door: httpx.AsyncClient, house: Resources, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    thief = make.bearing((await make.key(house, await make.tenant(house, "thief")))[1])
    await issuers.trust(door, chief, issuer.issuer)
    clock.move(1)
    await issuers.trust(door, thief, issuer.issuer)
    assert (await me(door, issuer.token(clock.now())))[1]["tenant"] == "acme"


async def test_a_change_holds_for_living_tokens(
    door: httpx.AsyncClient, chief: dict[str, str], clock: SetClock, issuer: OwnIssuer
) -> None:
    made = await issuers.trust(door, chief, issuer.issuer)
    text = issuer.token(clock.now())
    assert (await me(door, text))[1]["role"] == "viewer"
    changed = await door.patch(
        f"{URL}/{made['id']}",
        json={"role_map": {"staff": "analyst"}},
        headers=chief | {"If-Match": made["etag"]},
    )
    assert changed.status_code == 200, changed.text

    async def role() -> str | None:
        found: str | None = (await me(door, text))[1].get("role")
        return found

    await oauth.eventually(role, "analyst")
    await door.patch(
        f"{URL}/{made['id']}",
        json={"state": "disabled"},
        headers=chief | {"If-Match": changed.headers["etag"]},
    )
    await oauth.eventually(role, None)
    assert (await me(door, text))[1]["code"] == "invalid_token"
