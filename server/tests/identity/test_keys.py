import asyncio
import base64
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Pepper, Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import jobs, key_format, keys, store
from guardhouse.identity.key_cache import KeyCache
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.remembered import ENTRIES
from guardhouse.identity.store import ApiKey
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.identity import make


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0
        self.connected = True

    def cache(self) -> KeyCache:
        return KeyCache(lambda: self.connected, lambda: self.now)


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def stored(resources: Resources) -> ApiKey:
    found, _ = await make.key(resources, await make.tenant(resources))
    return found


def key_of(cache: KeyCache, text: str) -> tuple[bool, ApiKey | None]:
    """Return whether the cache knows a text, and its key."""
    known = cache.find(text)
    return known is not None, None if known is None else known.key


def test_a_known_key_is_kept_30_seconds_an_unknown_one_10_any_1_while_deaf(
    ticks: Ticks, stored: ApiKey
) -> None:
    cache = ticks.cache()
    cache.keep("known", stored, cache.generation)
    cache.keep("unknown", None, cache.generation)
    for now, connected, known, unknown in [
        (10.0, True, True, True), (10.1, True, True, False), (30.0, True, True, False), (30.1, True, False, False),
        (1.0, False, True, True), (1.1, False, False, False),
    ]:  # fmt: skip
        ticks.now, ticks.connected = now, connected
        assert key_of(cache, "known") == ((True, stored) if known else (False, None))
        assert key_of(cache, "unknown") == (unknown, None)


def test_the_text_of_a_key_is_not_in_the_cache(ticks: Ticks, stored: ApiKey) -> None:
    cache = ticks.cache()
    cache.keep("gh_live_text", stored, cache.generation)
    assert "gh_live_text" not in repr(cache._entries)


def test_a_lookup_begun_before_a_change_is_not_kept(ticks: Ticks, stored: ApiKey) -> None:
    cache = ticks.cache()
    generation = cache.generation
    cache.drop("7")  # the revocation commits and is heard while the old row is on its way
    assert cache.keep("text", stored, generation).key == stored  # good for the request that asked
    assert key_of(cache, "text") == (False, None)
    cache.keep("text", stored, cache.generation)
    assert key_of(cache, "text") == (True, stored)


def test_the_cache_is_bounded(ticks: Ticks) -> None:
    cache = ticks.cache()
    for number in range(ENTRIES + 5):
        cache.keep(str(number), None, cache.generation)
    assert len(cache._entries) == ENTRIES
    assert key_of(cache, "4") == (False, None)
    assert key_of(cache, "5") == (True, None)


async def test_a_revocation_that_overtakes_a_lookup_wins(
    client: httpx.AsyncClient, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is read, then revoked and the NOTIFY heard, then the look-up ends: the key must not live on."""
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    read, go_on = asyncio.Event(), asyncio.Event()
    find_key = keys.find_key

    async def slow(tx: Tx, peppers: Any, given: str) -> ApiKey | None:
        found = await find_key(tx, peppers, given)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(keys, "find_key", slow)
    first = asyncio.create_task(client.get("/api/v1/me", headers=make.bearing(text)))
    await read.wait()
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await keys.revoke_key(tx, tenant.id, key.id, revoked_by="test")
    await asyncio.sleep(0.2)  # the NOTIFY is heard
    go_on.set()
    assert (await first).status_code == 200  # it began before
    assert (await client.get("/api/v1/me", headers=make.bearing(text))).json()["code"] == "api_key_revoked"


@pytest.mark.parametrize("cut", [False, True])
async def test_a_revocation_is_seen_by_another_process_within_a_second(
    client: httpx.AsyncClient, resources: Resources, database: Clone, tmp_path: Path, *, cut: bool
) -> None:
    tenant = await make.tenant(resources)
    _, admin = await make.key(resources, tenant)
    key, text = await make.key(resources, tenant, "viewer")
    superuser = await asyncpg.connect(database.superuser_url)
    async with opened(database.database_url, tmp_path) as other, api.client_of(other) as second:
        try:
            while not other.wake.connected:
                await asyncio.sleep(0.01)
            assert (await second.get("/api/v1/me", headers=make.bearing(text))).status_code == 200
            if cut:  # and it cannot come back
                other.wake._url = "postgresql://nobody@127.0.0.1:1/none"
                await superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'guardhouse-wake' AND datname = current_database()"
                )
                await asyncio.sleep(0.1)
                assert other.wake._answered < 0
                assert (await second.get("/api/v1/me", headers=make.bearing(text))).status_code == 200
            revoked = await client.delete(f"/api/v1/keys/{key.id}", headers=make.bearing(admin))
            assert revoked.json()["state"] == "revoked"
            began = time.monotonic()
            while (await second.get("/api/v1/me", headers=make.bearing(text))).status_code == 200:
                await asyncio.sleep(0.01)
            assert time.monotonic() - began < (1.3 if cut else 0.5)
        finally:
            await superuser.close()


def peppers(*names: str) -> SecretStr:
    return SecretStr(",".join(f"{n}:{base64.urlsafe_b64encode(n.encode() * 32).decode()}" for n in names))


async def test_a_pepper_is_replaced_while_keys_stay_good(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path, key_peppers=peppers("a")) as old:
        tenant = await make.tenant(old)
        _, used = await make.key(old, tenant)
        _, unused = await make.key(old, tenant)
    async with (
        opened(database_url, tmp_path, key_peppers=peppers("b", "a")) as both,
        api.client_of(both) as client,
    ):
        assert (await client.get("/api/v1/me", headers=make.bearing(used))).status_code == 200
        _, new = await make.key(both, tenant)
        async with system_transaction(both.database) as tx:
            rows = await tx.fetch("SELECT pepper_kid, count(*) AS n FROM api_keys GROUP BY 1 ORDER BY 1")
        assert [(row["pepper_kid"], row["n"]) for row in rows] == [("a", 1), ("b", 2)]
    async with (
        opened(database_url, tmp_path, key_peppers=peppers("b")) as after,
        api.client_of(after) as client,
    ):
        for text, status in ((used, 200), (new, 200), (unused, 401)):
            assert (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == status


async def test_only_the_digest_is_stored(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT * FROM api_keys")
    assert row is not None
    assert row["digest"] == key_format.digest(resources.peppers[0], text)
    assert text[16:-4] not in repr(dict(row))
    assert (key.prefix, key.last4) == (text[:16], text[-4:])


async def test_a_key_has_the_scopes_of_its_role_or_fewer(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, _ = await make.key(resources, tenant, "viewer", scopes=("events:read", "events:read"))
    assert key.scopes == ("events:read",)
    with pytest.raises(ScopeEscalation):
        await make.key(resources, tenant, "viewer", scopes=("keys:write",))


async def test_revoking_is_repeatable_and_bound_to_the_tenant(resources: Resources) -> None:
    a, b = [await make.tenant(resources, slug) for slug in ("a", "b")]
    key, _ = await make.key(resources, a)
    for _ in range(2):
        async with tenant_transaction(resources.database, a.key) as tx:
            assert (await keys.revoke_key(tx, a.id, key.id, revoked_by="test")).state == "revoked"
    for owner in (b.id, a.id):
        with pytest.raises(NotFound):
            async with tenant_transaction(resources.database, b.key) as tx:
                await keys.revoke_key(tx, owner, key.id, revoked_by="test")
    with pytest.raises(NotFound):
        async with tenant_transaction(resources.database, a.key) as tx:
            await keys.revoke_key(tx, a.id, new_id(), revoked_by="test")


async def test_keys_are_listed_newest_first_in_pages(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    clock = SetClock()
    async with system_transaction(resources.database) as tx:
        made = [
            (await keys.create_key(tx, clock, resources.peppers[0], tenant, NewKey(str(n)), created_by="t"))[
                0
            ]
            for n in range(5)  # all at one instant: ties are broken by id
        ]
    ordered = sorted((key.id for key in made), reverse=True)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        seen, after = [], None
        while page := await keys.list_keys(tx, tenant.id, 2, after):
            seen += [key.id for key in page]
            after = (page[-1].created_at, page[-1].id)
    assert seen == ordered


async def test_last_use_is_written_in_batches_and_never_goes_back(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, _ = await make.key(resources, tenant)
    cache, clock = KeyCache(lambda: True), SetClock()
    cache.mark_used(key.id, clock.now())
    clock.move(-5)
    await jobs.write_last_use(resources, cache)
    assert cache.take_used() == []
    cache.mark_used(key.id, clock.now())
    await jobs.write_last_use(resources, cache)
    async with system_transaction(resources.database) as tx:
        found = await store.get_key(tx, tenant.id, key.id)
    clock.move(5)
    assert found is not None
    assert found.last_used_at == clock.now()


async def test_stopping_writes_the_last_use(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    async with api.client_of(resources) as client:
        assert (await client.get("/api/v1/me", headers=make.bearing(text))).status_code == 200
    async with system_transaction(resources.database) as tx:
        found = await store.get_key(tx, tenant.id, key.id)
    assert found is not None
    assert found.last_used_at is not None


def test_secrets_are_not_in_a_repr(resources: Resources) -> None:
    assert repr(Pepper("a", b"tiger" * 4)) == "Pepper(kid='a')"
    assert "x00" not in repr(replace(resources).peppers)
