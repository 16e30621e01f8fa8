import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardhouse.audit import signed_head, signing_key, verify
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.audit.verify import Broken
from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity.store import Tenant
from server.tests.audit.make import Owner, fill, owner_of, verified
from server.tests.identity import make

COUNT = 12
REHASH = "UPDATE audit_log SET hash = guardhouse_audit_hash(prev_hash, audit_log) WHERE seq = {}"
RELINK = """
DO $$ DECLARE entry audit_log; linked bytea := (SELECT hash FROM audit_log WHERE seq = {0} - 1); BEGIN
  FOR entry IN SELECT * FROM audit_log WHERE seq >= {0} ORDER BY seq LOOP
    UPDATE audit_log SET prev_hash = linked WHERE seq = entry.seq;
    UPDATE audit_log SET hash = guardhouse_audit_hash(prev_hash, audit_log) WHERE seq = entry.seq
      RETURNING hash INTO linked;
  END LOOP;
  UPDATE audit_heads SET hash = linked;
END $$
"""
REPLACED = (
    "CREATE OR REPLACE FUNCTION guardhouse_audit_hash(prev bytea, entry audit_log) RETURNS bytea"
    " LANGUAGE sql STABLE SET search_path = public, pg_temp AS 'SELECT entry.hash'"
)
COLUMNS = "tenant_id, at, actor, action, target, correlation_id, prev_hash, hash"


@pytest.fixture
async def acme(resources: Resources) -> Tenant:
    tenant = await make.tenant(resources)
    await fill(resources, tenant, COUNT)
    return tenant


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator[Owner]:
    async with owner_of(owner_url) as found:
        yield found


async def sign(resources: Resources, tenant: Tenant) -> None:
    async with system_transaction(resources.database) as tx:
        key = await signing_key.current_key(tx, resources)
        head = await tx.fetch_row("SELECT seq, hash FROM audit_heads WHERE tenant_id = $1", tenant.id)
        assert head is not None
        await signed_head.sign_head(tx, tenant.id, (head["seq"], head["hash"]), key, resources.clock.now())


async def test_a_log_that_nobody_touched(
    resources: Resources, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign(resources, acme)
    await fill(resources, acme, 3)
    for step in (20_000, 4, 1):
        monkeypatch.setattr(verify, "STEP", step)
        walk = await verified(resources, acme)
        assert (walk.broken, walk.first, walk.last, walk.entries, walk.signed_heads) == (None, 1, 15, 15, 1)
        assert walk.start_hash == b""
        assert walk.end_hash == walk.extent.head_hash
    part = await verified(resources, acme, first=5, last=9)
    assert (part.broken, part.entries, part.signed_heads) == (None, 5, 0)
    rest = await verified(resources, acme, first=10)
    assert rest.start_hash == part.end_hash


async def test_an_empty_log_is_whole(resources: Resources) -> None:
    walk = await verified(resources, await make.tenant(resources))
    assert (walk.broken, walk.entries, walk.first, walk.last) == (None, 0, 1, 0)


@pytest.mark.parametrize("span", [{"first": 13}, {"last": 13}, {"first": 9, "last": 7}, {"first": 2**62}])
async def test_a_range_outside_the_log(resources: Resources, acme: Tenant, span: dict[str, int]) -> None:
    with pytest.raises(ValidationFailed):
        await verified(resources, acme, **span)


TAMPERINGS = {
    "actor": (["UPDATE audit_log SET actor = 'me' WHERE seq = 5"], Broken(5, "altered")),
    "time": (["UPDATE audit_log SET at = at - interval '1 microsecond' WHERE seq = 5"], Broken(5, "altered")),
    "json": (["UPDATE audit_log SET after = '{\"n\": 99}' WHERE seq = 5"], Broken(5, "altered")),
    "null": (["UPDATE audit_log SET reason = NULL WHERE seq = 5"], Broken(5, "altered")),
    "empty": (["UPDATE audit_log SET ip = '' WHERE seq = 5"], Broken(5, "altered")),
    "moved text": (
        ["UPDATE audit_log SET action = 'thing.changet', target = 'hing:4' WHERE seq = 5"],
        Broken(5, "altered"),
    ),
    "first": (["UPDATE audit_log SET actor = 'me' WHERE seq = 1"], Broken(1, "altered")),
    "last": ([f"UPDATE audit_log SET actor = 'me' WHERE seq = {COUNT}"], Broken(COUNT, "altered")),
    "link": (["UPDATE audit_log SET prev_hash = '\\x00' WHERE seq = 5"], Broken(5, "altered")),
    "deleted": (["DELETE FROM audit_log WHERE seq = 5"], Broken(5, "missing")),
    "first deleted": (["DELETE FROM audit_log WHERE seq = 1"], Broken(1, "missing")),
    "several deleted": (["DELETE FROM audit_log WHERE seq IN (4, 5, 9)"], Broken(4, "missing")),
    "all deleted": (["DELETE FROM audit_log"], Broken(1, "missing")),
    "tail cut": (["DELETE FROM audit_log WHERE seq > 9"], Broken(10, "missing")),
    "inserted": (
        [
            "UPDATE audit_log SET seq = seq + 100 WHERE seq > 5",
            "UPDATE audit_log SET seq = seq - 99 WHERE seq > 100",
            f"INSERT INTO audit_log (seq, {COLUMNS}) SELECT 6, {COLUMNS} FROM audit_log WHERE seq = 5",
            f"UPDATE audit_heads SET seq = {COUNT + 1}",
        ],
        Broken(6, "altered"),
    ),
    "appended": (
        [
            f"INSERT INTO audit_log (seq, {COLUMNS}) SELECT {COUNT + 1}, {COLUMNS} FROM audit_log WHERE seq = 5"
        ],
        Broken(COUNT + 1, "unexpected"),
    ),
    "swapped": (
        [
            "UPDATE audit_log SET seq = 0 WHERE seq = 5",
            "UPDATE audit_log SET seq = 5 WHERE seq = 8",
            "UPDATE audit_log SET seq = 8 WHERE seq = 0",
        ],
        Broken(5, "altered"),
    ),
    "reordered": (
        ["UPDATE audit_log SET seq = -seq", f"UPDATE audit_log SET seq = {COUNT + 1} + seq"],
        Broken(1, "altered"),
    ),
    "changed and hashed anew": (
        ["UPDATE audit_log SET actor = 'me' WHERE seq = 5", REHASH.format(5)],
        Broken(6, "unlinked"),
    ),
    "the last changed and hashed anew": (
        [f"UPDATE audit_log SET actor = 'me' WHERE seq = {COUNT}", REHASH.format(COUNT)],
        Broken(COUNT, "head_differs"),
    ),
    "head": (["UPDATE audit_heads SET hash = '\\x00'"], Broken(COUNT, "head_differs")),
    "head behind": (["UPDATE audit_heads SET seq = 9"], Broken(10, "unexpected")),
    "head gone": (["DELETE FROM audit_heads"], Broken(1, "unexpected")),
    "the function replaced": (
        [
            "UPDATE audit_log SET actor = 'me' WHERE seq = 5",
            REPLACED,
        ],
        Broken(5, "altered"),
    ),
}
# What only a signed head can tell: the chain was made anew, and its head with it.
FORGERIES = {
    "changed and all made anew": (
        ["UPDATE audit_log SET actor = 'me' WHERE seq = 5", RELINK.format(5)],
        Broken(COUNT, "signed_head_differs"),
    ),
    "tail and head cut": (
        [
            "DELETE FROM audit_log WHERE seq > 9",
            "UPDATE audit_heads SET seq = 9, hash = (SELECT hash FROM audit_log WHERE seq = 9)",
        ],
        Broken(10, "missing"),
    ),
    "everything gone": (["DELETE FROM audit_log", "DELETE FROM audit_heads"], Broken(1, "missing")),
    "the signed head bent to fit": (
        [
            "UPDATE audit_log SET actor = 'me' WHERE seq = 5",
            RELINK.format(5),
            f"UPDATE audit_signed_heads SET hash = (SELECT hash FROM audit_log WHERE seq = {COUNT})",
        ],
        Broken(COUNT, "signature_invalid"),
    ),
}


@pytest.fixture
async def hash_function(owner: Owner) -> AsyncIterator[None]:
    """Put the function back that a tampering may replace."""
    wanted = await owner.connection.fetchval(
        "SELECT pg_get_functiondef('guardhouse_audit_hash(bytea, audit_log)'::regprocedure)"
    )
    yield
    await owner.connection.execute(wanted)


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.usefixtures("hash_function")
async def test_the_first_bad_entry_is_named(
    resources: Resources, acme: Tenant, owner: Owner, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements, expected = TAMPERINGS[name]
    await owner.run(*statements)
    assert (await verified(resources, acme)).broken == expected
    monkeypatch.setattr(verify, "STEP", 4)
    assert (await verified(resources, acme)).broken == expected


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_was_signed_cannot_be_made_anew(
    resources: Resources, acme: Tenant, owner: Owner, name: str
) -> None:
    await sign(resources, acme)
    statements, expected = FORGERIES[name]
    await owner.run(*statements)
    assert (await verified(resources, acme)).broken == expected


async def test_a_key_that_somebody_put_into_the_table_proves_nothing(
    resources: Resources, acme: Tenant, owner: Owner
) -> None:
    await sign(resources, acme)
    forged = Ed25519PrivateKey.generate()
    public = forged.public_key().public_bytes_raw()
    row = await owner.connection.fetchrow("SELECT * FROM audit_signed_heads")
    assert row is not None
    said = signed_head.statement(acme.id, row["seq"], row["hash"], row["signed_at"])
    await owner.connection.execute(
        "INSERT INTO audit_signing_keys SELECT 'forged', $1, sealed, created_at FROM audit_signing_keys",
        public,
    )
    await owner.connection.execute(
        "UPDATE audit_signed_heads SET key_id = 'forged', signature = $1", forged.sign(said)
    )
    assert (await verified(resources, acme)).broken == Broken(COUNT, "signature_invalid")


async def test_a_break_outside_the_range_is_not_seen(
    resources: Resources, acme: Tenant, owner: Owner
) -> None:
    await owner.run("UPDATE audit_log SET actor = 'me' WHERE seq = 5")
    assert (await verified(resources, acme, last=4)).broken is None
    assert (await verified(resources, acme, first=6)).broken is None
    assert (await verified(resources, acme, first=5)).broken == Broken(5, "altered")


async def test_eight_writers_make_one_chain(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    other = await make.tenant(resources, "other")

    async def write(writer: int) -> None:
        for number in range(40):
            owner = other if number % 10 == 9 else tenant
            async with tenant_transaction(resources.database, owner.key) as tx:
                actor = Actor(owner.id, f"key:{writer}")
                await record(tx, actor, Entry("thing.change", f"thing:{number}"))

    await asyncio.gather(*(write(writer) for writer in range(8)))
    for owner, count in ((tenant, 288), (other, 32)):
        walk = await verified(resources, owner)
        assert (walk.broken, walk.entries) == (None, count)
    async with system_transaction(resources.database) as tx:
        per_writer = await tx.fetch(
            "SELECT actor, array_agg(target ORDER BY seq) AS targets FROM audit_log WHERE tenant_id = $1 GROUP BY 1",
            tenant.id,
        )
    own = [f"thing:{number}" for number in range(40) if number % 10 != 9]
    assert [row["targets"] for row in per_writer] == [own] * 8


async def test_what_rolled_back_leaves_no_gap(resources: Resources, acme: Tenant) -> None:
    async def change_my_mind() -> None:
        async with tenant_transaction(resources.database, acme.key) as tx:
            await record(tx, Actor(acme.id, "key:1"), Entry("thing.change", "thing:x"))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await change_my_mind()
    await fill(resources, acme, 1)
    walk = await verified(resources, acme)
    assert (walk.broken, walk.last) == (None, COUNT + 1)
