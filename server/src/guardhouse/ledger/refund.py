"""Give back what a run was charged, in part or whole; never more than it was charged."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.ledger import store


class RefundExceedsCharge(Problem):
    """All refunds of the run together would be more than its charge."""

    status, code, title = 409, "refund_exceeds_charge", "Refund exceeds the charge"
    remediation = (
        "Refund at most what is left of the charge: `actual_cost_usd` less `refunded_usd` of the run."
    )


@dataclass(frozen=True, slots=True)
class Refund:
    """Micros to give back for a run, and why."""

    refund_id: UUID
    run_id: UUID
    amount: int
    reason: str


async def refund(tx: Tx, tenant_id: UUID, given: Refund, actor: str, now: datetime) -> None:
    """Write a refund; the caller holds the run's row.

    Raises:
        RefundExceedsCharge: more than is left of the charge; the transaction is at its end.
    """
    try:
        await store.insert_refund(
            tx, (given.refund_id, tenant_id, given.run_id, given.amount, given.reason, actor, now)
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate != store.OVER_REFUNDED:
            raise
        raise RefundExceedsCharge("The refunds of this run would exceed its charge.") from None
