"""The books as the application keeps them: what moves, what it sums to, what is refused."""

import random
from collections import Counter
from uuid import UUID

import asyncpg
import pytest

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.identity.store import Tenant
from guardhouse.ledger import store
from guardhouse.ledger.deposit import Payment, PaymentRefReused, deposit
from guardhouse.ledger.refund import Refund, RefundExceedsCharge, refund
from guardhouse.ledger.store import Balance
from guardhouse.ledger.verify import verify
from server.tests.identity import make as identity
from server.tests.ledger.make import CENT, NOW, ended, funded, held


async def balance_of(resources: Resources, tenant: Tenant) -> Balance:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        found = await verify(tx, tenant.id)
        assert found.faults == []
        return await store.read_balance(tx, tenant.id)


def accounts(balance: Balance) -> tuple[int, int, int]:
    return balance.available, balance.held, balance.revenue


async def give_back(resources: Resources, tenant: Tenant, run_id: UUID, micros: int) -> None:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await refund(tx, tenant.id, Refund(new_id(), run_id, micros, "test"), "test", NOW)


async def test_a_run_holds_pays_and_gets_the_rest_back(resources: Resources) -> None:
    tenant = await identity.tenant(resources)
    assert accounts(await balance_of(resources, tenant)) == (0, 0, 0)
    await funded(resources, tenant, 100 * CENT)
    run_id = await held(resources, tenant, 50 * CENT)
    assert accounts(await balance_of(resources, tenant)) == (50 * CENT, 50 * CENT, 0)
    await ended(resources, tenant, run_id, 50 * CENT, posted=2 * CENT)
    assert accounts(await balance_of(resources, tenant)) == (98 * CENT, 0, 2 * CENT)
    await give_back(resources, tenant, run_id, CENT)
    assert accounts(await balance_of(resources, tenant)) == (99 * CENT, 0, CENT)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        moved = await store.read_transfers(tx, tenant.id, 0, 100)
    assert [(one.seq, one.kind, one.amount) for one in moved] == [
        (1, "top_up", 100 * CENT),
        (2, "hold", 50 * CENT),
        (3, "post", 2 * CENT),
        (4, "release", 48 * CENT),
        (5, "refund", CENT),
    ]


async def test_more_than_there_is_cannot_be_held(resources: Resources) -> None:
    tenant = await identity.tenant(resources)
    await funded(resources, tenant, CENT)
    with pytest.raises(asyncpg.PostgresError) as refused:
        await held(resources, tenant, 2 * CENT)
    assert refused.value.sqlstate == store.OVERDRAWN
    assert accounts(await balance_of(resources, tenant)) == (CENT, 0, 0)


async def test_a_payment_is_credited_once(resources: Resources) -> None:
    tenant = await identity.tenant(resources)
    payment = Payment("invoice", "inv-1", 5 * CENT)
    made = []
    for _ in range(2):
        async with tenant_transaction(resources.database, tenant.key) as tx:
            made.append(await deposit(tx, tenant.id, payment, "test", new_id(), NOW))
    assert [one.created for one in made] == [True, False]
    assert made[0].deposit_id == made[1].deposit_id
    async with tenant_transaction(resources.database, tenant.key) as tx:
        with pytest.raises(PaymentRefReused):
            await deposit(tx, tenant.id, Payment("invoice", "inv-1", CENT), "test", new_id(), NOW)
    assert (await balance_of(resources, tenant)).available == 5 * CENT


async def test_refunds_stop_at_the_charge(resources: Resources) -> None:
    tenant = await identity.tenant(resources)
    await funded(resources, tenant, 100 * CENT)
    run_id = await held(resources, tenant, 10 * CENT)
    with pytest.raises(RefundExceedsCharge):  # nothing is charged yet
        await give_back(resources, tenant, run_id, CENT)
    await ended(resources, tenant, run_id, 10 * CENT, posted=3 * CENT)
    await give_back(resources, tenant, run_id, 2 * CENT)
    with pytest.raises(RefundExceedsCharge):
        await give_back(resources, tenant, run_id, 2 * CENT)
    await give_back(resources, tenant, run_id, CENT)
    assert accounts(await balance_of(resources, tenant)) == (100 * CENT, 0, 0)


async def test_any_order_of_moves_keeps_the_books_whole(resources: Resources) -> None:
    """A walk over every kind of move beside a model of plain integers."""
    tenant = await identity.tenant(resources)
    chance = random.Random(7)
    model: Counter[str] = Counter()
    open_runs: dict[UUID, int] = {}
    charged: dict[UUID, int] = {}
    for _ in range(60):
        move = chance.choice(("fund", "hold", "hold", "end", "end", "void", "expire", "refund"))
        if move == "fund":
            amount = chance.randrange(1, 50) * CENT
            await funded(resources, tenant, amount)
            model["available"] += amount
        elif move == "hold" and model["available"] >= CENT:
            amount = chance.randrange(CENT, model["available"] + 1, CENT)
            open_runs[await held(resources, tenant, amount)] = amount
            model["available"] -= amount
            model["held"] += amount
        elif move in {"end", "void", "expire"} and open_runs:
            run_id = chance.choice(list(open_runs))
            amount = open_runs.pop(run_id)
            posted = chance.randrange(100, amount + 1, 100) if move == "end" else 0
            await ended(resources, tenant, run_id, amount, posted, expired=move == "expire")
            model["held"] -= amount
            model["revenue"] += posted
            model["available"] += amount - posted
            charged[run_id] = posted
        elif move == "refund" and any(charged.values()):
            run_id = chance.choice([run_id for run_id, left in charged.items() if left])
            amount = chance.randrange(100, charged[run_id] + 1, 100)
            await give_back(resources, tenant, run_id, amount)
            charged[run_id] -= amount
            model["revenue"] -= amount
            model["available"] += amount
        balance = await balance_of(resources, tenant)
        assert accounts(balance) == (model["available"], model["held"], model["revenue"])
        assert balance.funding == sum(model.values())
    async with tenant_transaction(resources.database, tenant.key) as tx:
        (used,) = await tx.fetch(
            "SELECT sum(runs_count) AS runs, sum(cost_micros) AS cost FROM run_usage_daily"
        )
        (resolved,) = await tx.fetch("SELECT count(*) AS runs, sum(posted) AS cost FROM ledger_resolutions")
    assert tuple(used) == tuple(resolved)


@pytest.mark.parametrize(
    ("forgery", "fault"),
    [
        ("UPDATE ledger_transfers SET amount = amount + 100 WHERE seq = 2", "hash of its transfers"),
        ("UPDATE ledger_transfers SET ref = 'other' WHERE seq = 1", "hash of its transfers"),
        ("DELETE FROM ledger_transfers WHERE seq = 3", "transfers that are not there"),
        ("UPDATE ledger_balances SET available = available - 100, held = held + 100", "its transfers sum to"),
        ("DELETE FROM ledger_blocks WHERE block = 3", "end of the chain"),
    ],
)
async def test_a_forged_book_is_found(resources: Resources, owner_url: str, forgery: str, fault: str) -> None:
    tenant = await identity.tenant(resources)
    await funded(resources, tenant, 10 * CENT)
    await held(resources, tenant, CENT)
    await held(resources, tenant, CENT)
    owner = await asyncpg.connect(owner_url.replace("+asyncpg", ""))
    try:
        tables = ("ledger_transfers", "ledger_balances", "ledger_blocks")
        for table in tables:
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await owner.execute(forgery)
        for table in tables:
            await owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    finally:
        await owner.close()
    async with tenant_transaction(resources.database, tenant.key) as tx:
        found = await verify(tx, tenant.id)
    assert any(fault in one for one in found.faults), found.faults
