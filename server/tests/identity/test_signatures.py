from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardhouse.foundation import signing
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import MasterKey
from guardhouse.foundation.signing import Claim, SignedMessage, legacy_mac
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import signatures
from guardhouse.identity.agent_keys import store
from guardhouse.identity.agent_keys.store import Modes
from guardhouse.identity.signatures import SignedBy, Unauthorized
from server.tests.components.opened import opened
from server.tests.identity import make
from server.tests.identity.make import AgentSecret

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=SetClock(NOW)) as found:
        yield found


@pytest.fixture
async def agent(house: Resources) -> AgentSecret:
    return await make.agent_key(house, await make.tenant(house))


def signed(agent: AgentSecret, **changed: object) -> SignedMessage:
    given: dict[str, object] = {"now": NOW} | changed
    return make.signed_request(agent.key_id, agent.secret, **given)  # type: ignore[arg-type] # names of parameters


async def verify(house: Resources, message: SignedMessage) -> SignedBy:
    async with system_transaction(house.database) as tx:
        return await signatures.verify_signature(tx, house, message)


async def refused(house: Resources, message: SignedMessage) -> dict[str, object]:
    with pytest.raises(Unauthorized) as caught:
        await verify(house, message)
    assert caught.value.headers["WWW-Authenticate"].startswith("Signature ")
    return caught.value.body(public_url="", instance="", correlation_id="")


async def test_a_signature_names_tenant_and_agent(house: Resources, agent: AgentSecret) -> None:
    found = await verify(house, signed(agent, nonce="n" * 16))
    assert found == SignedBy(agent.tenant, "web-1", "web-1:1", b"n" * 16)


async def test_of_two_tenants_with_one_agent_id_the_key_names_the_tenant(
    house: Resources, agent: AgentSecret
) -> None:
    other = await make.agent_key(house, await make.tenant(house, "other"))
    assert other.key_id == agent.key_id
    assert (await verify(house, signed(agent))).tenant == agent.tenant
    assert (await verify(house, signed(other))).tenant == other.tenant


async def test_every_failure_has_the_same_body(house: Resources, agent: AgentSecret) -> None:
    good = signed(agent)
    bodies = [
        await refused(house, message)
        for message in [
            signed(replace(agent, secret=bytes(32))),
            signed(replace(agent, key_id="nobody:1")),
            signed(replace(agent, key_id="web-1:2")),
            signed(replace(agent, key_id="web-1:99999999999")),
            signed(replace(agent, key_id="web-1")),
            signed(replace(agent, key_id=":1")),
            signed(replace(agent, key_id="web-1:-1")),
            signed(agent, now=NOW - timedelta(seconds=301)),
            signed(agent, now=NOW + timedelta(seconds=301)),
            signed(agent, tag="guardhouse-agent"),
            signed(agent, covered=make.COVERED[:-1]),
            replace(good, body=b"{}"),
            replace(good, method="PUT"),
            replace(good, url=good.url + "x"),
            replace(good, url=good.url.replace("127.0.0.1", "evil.example")),
            replace(good, headers={}),
        ]
    ]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["server_time"] == "2026-01-01T00:00:00.000Z"


async def test_an_unknown_agent_costs_one_check_too(
    house: Resources, agent: AgentSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[bytes] = []
    verify_mac = signing.verify_mac

    def counted(message: SignedMessage, claim: Claim, key: bytes, *, tag: str) -> bool:
        checks.append(key)
        return verify_mac(message, claim, key, tag=tag)

    monkeypatch.setattr(signing, "verify_mac", counted)
    for stranger in (replace(agent, secret=bytes(32)), replace(agent, key_id="nobody:1")):
        checks.clear()
        await refused(house, signed(stranger))
        assert len(checks) == 1


async def test_a_nonce_is_good_once_per_key_and_in_one_transaction(
    house: Resources, agent: AgentSecret
) -> None:
    by = await verify(house, signed(agent, nonce="n" * 16))
    with pytest.raises(RuntimeError, match="rolled back"):  # noqa: PT012 - the block is the transaction
        async with tenant_transaction(house.database, by.tenant.key) as tx:
            await signatures.use_nonce(tx, house, by)
            raise RuntimeError("rolled back")
    async with tenant_transaction(house.database, by.tenant.key) as tx:
        await signatures.use_nonce(tx, house, by)
    with pytest.raises(Unauthorized):
        async with tenant_transaction(house.database, by.tenant.key) as tx:
            await signatures.use_nonce(tx, house, by)
    for other in (replace(by, keyid="web-1:2"), replace(by, nonce=b"m" * 16), replace(by, nonce=None)):
        async with tenant_transaction(house.database, by.tenant.key) as tx:
            await signatures.use_nonce(tx, house, other)


async def test_a_nonce_outlives_every_instant_at_which_its_signature_is_fresh(
    house: Resources, agent: AgentSecret
) -> None:
    clock = house.clock
    assert isinstance(clock, SetClock)
    message = signed(agent, now=NOW + timedelta(seconds=300))  # a sender ahead of us by all that is allowed
    by = await verify(house, message)
    async with tenant_transaction(house.database, by.tenant.key) as tx:
        await signatures.use_nonce(tx, house, by)
    clock.move(600.9)
    assert await verify(house, message) == by
    async with system_transaction(house.database) as tx:
        assert await store.prune_nonces(tx, clock.now(), 100) == 0
    clock.move(1)
    await refused(house, message)
    async with system_transaction(house.database) as tx:
        assert await store.prune_nonces(tx, clock.now(), 100) == 1


async def test_rotation_overlaps_to_the_second(house: Resources, agent: AgentSecret) -> None:
    clock = house.clock
    assert isinstance(clock, SetClock)
    new = await make.agent_key(house, agent.tenant)
    assert new.key_id == "web-1:2"
    async with system_transaction(house.database) as tx:
        await signatures.end_agent_keys(tx, clock, agent.tenant.id, "web-1", grace_seconds=60, below=2)
    clock.move(59.9)
    await verify(house, signed(agent, now=clock.now()))
    clock.move(0.1)
    await refused(house, signed(agent, now=clock.now()))
    await verify(house, signed(new, now=clock.now()))
    async with system_transaction(house.database) as tx:
        await signatures.end_agent_keys(tx, clock, agent.tenant.id, "web-1", grace_seconds=3600)
        await signatures.end_agent_keys(tx, clock, agent.tenant.id, "web-1")  # now, and never later again
        await signatures.end_agent_keys(tx, clock, agent.tenant.id, "web-1", grace_seconds=3600)
    await refused(house, signed(new, now=clock.now()))


async def test_keys_of_a_suspended_tenant_do_not_sign(house: Resources, agent: AgentSecret) -> None:
    async with system_transaction(house.database) as tx:
        await tx.run("UPDATE tenants SET state = 'suspended'")
    await refused(house, signed(agent))


async def test_a_key_sealed_for_another_agent_or_under_a_lost_master_key_fits_nothing(
    house: Resources, agent: AgentSecret
) -> None:
    await refused(replace(house, master_key=MasterKey([bytes(range(1, 33))])), signed(agent))
    async with system_transaction(house.database) as tx:
        await tx.run("UPDATE agent_keys SET agent_id = 'web-2'")
    await refused(house, signed(replace(agent, key_id="web-2:1")))


@pytest.mark.parametrize(
    "change",
    [
        lambda a, mac: ("web-1", ("A" if mac[0] != "A" else "B") + mac[1:], a.body),
        lambda a, _mac: ("web-1", "", a.body),
        lambda a, mac: ("web-2", mac, a.body),
        lambda a, mac: ("web-1", mac, a.body + b" "),
        lambda a, _mac: ("web-1", "é", a.body),
    ],
)
async def test_the_older_headers(
    house: Resources, change: Callable[[SignedMessage, str], tuple[str, str, bytes]]
) -> None:
    tenant = await make.tenant(house)
    open_agent = await make.agent_key(house, tenant, legacy=True)
    message = signed(open_agent)
    mac = legacy_mac(open_agent.secret, message.body)
    async with system_transaction(house.database) as tx:
        found = await signatures.verify_legacy(tx, house, "web-1", mac, message.body)
        assert found == SignedBy(tenant, "web-1", "web-1:1", None)
        with pytest.raises(Unauthorized):
            await signatures.verify_legacy(tx, house, *change(message, mac))
        await signatures.allow_modes(tx, tenant.id, "web-1", Modes())
        with pytest.raises(Unauthorized):
            await signatures.verify_legacy(tx, house, "web-1", mac, message.body)
