"""Runs and money as the database takes them, without the machine that drives them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.identity.store import Tenant
from guardhouse.ledger.deposit import Payment, deposit
from guardhouse.ledger.hold import Hold, hold_all
from guardhouse.ledger.resolve import Resolution, resolve_all

CENT = 10_000
NOW = datetime.now(UTC)


async def insert_run(tx: Tx, tenant_id: UUID, run_id: UUID, **changed: Any) -> None:
    """Insert a queued run."""
    values: dict[str, Any] = {
        "run_id": run_id,
        "tenant_id": tenant_id,
        "pack_type": "decision",
        "pack_version": "1.0.0",
        "price_version": "2026-11",
        "status": "QUEUED",
        "money_state": "RESERVED",
        "version": 1,
        "inputs_sha256": b"",
        "quote_micros": 20_000,
        "timebox_seconds": 90,
        "queue_seconds": 900,
        "meta": "{}",
        "idempotency_key": str(run_id),
        "fingerprint": b"",
        "credential": "1",
        "plan": "standard",
        "plan_version": 1,
        "attempt": 0,
        "max_attempts": 2,
        "created_at": NOW,
        "updated_at": NOW,
        "queued_at": NOW,
        "retention_until": NOW + timedelta(days=30),
        "refunded_micros": 0,
        **changed,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await tx.fetch(f"INSERT INTO runs ({', '.join(values)}) VALUES ({places})", *values.values())


async def funded(resources: Resources, tenant: Tenant, micros: int) -> None:
    """Give a tenant money."""
    async with tenant_transaction(resources.database, tenant.key) as tx:
        reference = str(new_id())
        await deposit(tx, tenant.id, Payment("invoice", reference, micros), "test", new_id(), NOW)


async def held(resources: Resources, tenant: Tenant, micros: int) -> UUID:
    """Make a run and its hold."""
    run_id = new_id()
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await insert_run(tx, tenant.id, run_id)
        await hold_all(tx, tenant.id, [Hold(run_id, micros)], NOW)
    return run_id


CLOSE = (
    "UPDATE runs SET status = $2, money_state = $3, charged = $4, resolved_run_id = run_id,"
    " result_objects = '[]' WHERE run_id = $1"
)


async def ended(
    resources: Resources, tenant: Tenant, run_id: UUID, hold: int, posted: int, *, expired: bool = False
) -> None:
    """End a run: completed when something is charged, else failed."""
    async with tenant_transaction(resources.database, tenant.key) as tx:
        status, money = ("COMPLETED", "SETTLED") if posted else ("FAILED", "REFUNDED")
        await tx.fetch(CLOSE, run_id, status, money, posted)
        await resolve_all(tx, [Resolution(run_id, tenant.id, hold, posted, "test", expired)], NOW)
