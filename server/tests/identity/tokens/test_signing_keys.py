import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import MasterKey
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.tokens import signing_keys
from guardhouse.identity.tokens.jobs import keep_signing_keys, prune_tokens
from guardhouse.identity.tokens.signing_keys import AHEAD, LIFE, KeyRing, SigningKey, plan
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.identity.oauth import make as oauth

DAY = 86_400
EC = ec.generate_private_key(ec.SECP256R1())


async def kept(resources: Resources) -> KeyRing:
    async with system_transaction(resources.database) as tx:
        return await signing_keys.keep_keys(tx, resources.clock, resources.master_key)


async def test_a_hundred_days_of_tokens(database_url: str, tmp_path: Path) -> None:
    """Hour by hour: one key signs, it was published a day before, and verifies as long as its tokens live."""
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources:
        published: dict[str, float] = {}
        signed: dict[str, float] = {}
        ring = await kept(resources)
        for hour in range(24 * 100):
            if hour % 24 == 0 or 87 * 24 < hour < 93 * 24:
                ring = await kept(resources)
            for each in ring.keys:
                published.setdefault(each.kid, hour)
            current = ring.current(clock.now())
            assert current is not None
            signed[current.kid] = hour
            for kid, last in signed.items():
                if last > hour - 1:
                    assert kid in {each.kid for each in ring.keys}
            clock.move(3600)
        assert len(signed) == 2
        first, second = signed
        assert signed[first] == 90 * 24 - 1
        assert published[second] <= 89 * 24
        assert [each.kid for each in ring.keys] == [second]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 200 * 24), min_size=1, max_size=12))
def test_however_rarely_the_worker_comes_by(pauses_hours: list[int]) -> None:
    now = SetClock().now()
    keys: tuple[SigningKey, ...] = ()
    made_at: dict[str, datetime] = {}
    for pause in [0, *pauses_hours]:
        now += timedelta(hours=pause)
        due, done = plan(keys, now)
        keys = tuple(key for key in keys if key.kid not in done)
        if due is not None:
            kid = str(len(made_at))
            made_at[kid] = now
            assert due >= now + AHEAD or (due == now and not keys)
            keys = (*keys, SigningKey(kid, EC, {}, due))
        assert any(key.use_from <= now for key in keys)
        assert plan(keys, now) == (None, [])
        for older, newer in pairwise(keys):
            assert newer.use_from - older.use_from >= LIFE
            assert newer.use_from - made_at[newer.kid] >= AHEAD


async def test_two_workers_make_one_key(resources: Resources) -> None:
    rings = await asyncio.gather(*(kept(resources) for _ in range(4)))
    assert len({ring.keys[0].kid for ring in rings}) == 1
    assert all(len(ring.keys) == 1 for ring in rings)


async def test_without_the_master_key_a_new_one_signs_and_the_old_one_still_verifies(
    resources: Resources,
) -> None:
    old = (await kept(resources)).keys[0]
    async with system_transaction(resources.database) as tx:
        ring = await signing_keys.keep_keys(tx, resources.clock, MasterKey((b"x" * 32,)))
    assert {key.kid: key.private is None for key in ring.keys}[old.kid] is True
    current = ring.current(resources.clock.now())
    assert current is not None
    assert current.kid != old.kid
    assert {key["kid"] for key in ring.document()["keys"]} == {old.kid, current.kid}


async def test_the_private_half_is_sealed_and_the_tenant_role_sees_nothing(resources: Resources) -> None:
    ring = await kept(resources)
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT sealed, public_jwk::text AS jwk FROM oauth_signing_keys")
        may = await tx.fetch_value(
            "SELECT has_table_privilege('guardhouse_tenant', 'oauth_signing_keys', 'SELECT')"
        )
    private = ring.keys[0].private
    assert row is not None
    assert private is not None
    assert private.private_numbers().private_value.to_bytes(32) not in row["sealed"]
    assert '"d"' not in row["jwk"]
    assert may is False


async def test_tokens_go_on_over_a_rotation(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        owner, secret = await oauth.client(resources, await make.tenant(resources), token_seconds=3600)
        await keep_signing_keys.run(oauth.context(resources, keep_signing_keys.name))
        clock.move(89 * DAY)
        await keep_signing_keys.run(oauth.context(resources, keep_signing_keys.name))
        clock.move(DAY - 60)
        before = await oauth.token(client, owner, secret)
        clock.move(120)
        after = await oauth.token(client, owner, secret)
        assert before.split(".")[0] != after.split(".")[0]
        for text in (before, after):
            assert (await client.get("/api/v1/me", headers=oauth.bearing(text))).status_code == 200
        clock.move(3660)
        await keep_signing_keys.run(oauth.context(resources, keep_signing_keys.name))
        async with asyncio.timeout(5):
            while len((await client.get("/.well-known/jwks.json")).json()["keys"]) != 1:
                await asyncio.sleep(0.02)


async def test_what_has_expired_is_forgotten(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        signer = oauth.key()
        owner, _ = await oauth.client(resources, await make.tenant(resources), jwks=oauth.public(signer))
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }

        def proof() -> dict[str, str]:
            return form | {
                "client_assertion": oauth.sign(signer, "ES256", oauth.assertion(owner, clock.now()))
            }

        text = (await client.post("/oauth/token", data=proof())).json()["access_token"]
        await client.post("/oauth/revoke", data=proof() | {"token": text})

        async def rows() -> list[int]:
            async with system_transaction(resources.database) as tx:
                return [
                    await tx.fetch_value(f"SELECT count(*) FROM {table}")
                    for table in ("spent_token_ids", "oauth_revocations")
                ]

        for moved, expected in ((0, [2, 1]), (119, [2, 1]), (2, [0, 1]), (900, [0, 0])):
            clock.move(moved)
            await prune_tokens.run(oauth.context(resources, prune_tokens.name))
            assert await rows() == expected
