"""Hold money before work: what is held is no longer available, and nothing is held that is not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.money import format_usd
from guardhouse.ledger import store

TOP_UP_PATH: Final = "/api/v1/top-ups"


class InsufficientFunds(Problem):
    """The balance does not cover the ceiling of the run; nothing was held."""

    status, code, title = 402, "insufficient_funds", "Insufficient funds"
    remediation = "Top up by the shortfall, then send the same request under the same Idempotency-Key."

    def __init__(self, available_micros: int, required_micros: int) -> None:
        super().__init__(
            f"The run may cost {format_usd(required_micros)} dollars; {format_usd(available_micros)} are available.",
            balance_usd=format_usd(available_micros),
            required_usd=format_usd(required_micros),
            shortfall_usd=format_usd(required_micros - available_micros),
            top_up_url=TOP_UP_PATH,
            accepts=[],
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """What one run may cost at most, in micros."""

    run_id: UUID
    amount: int


def affordable(available_micros: int, amounts: Sequence[int]) -> list[bool]:
    """Say which holds fit, in their order: each takes from what is left; one that does not fit is passed by."""
    fits: list[bool] = []
    for amount in amounts:
        fits.append(amount <= available_micros)
        available_micros -= amount if fits[-1] else 0
    return fits


async def lock_available(tx: Tx, tenant_id: UUID) -> int:
    """Return the micros that a tenant may hold, and let nobody else hold until the end of the transaction.

    The first lock of a submit after its idempotency key: before it nothing is written.
    """
    return await store.lock_available(tx, tenant_id)


async def hold_all(tx: Tx, tenant_id: UUID, holds: Sequence[Hold], now: datetime) -> None:
    """Hold money for runs that this transaction makes; the caller holds the balance and knows that they fit."""
    if holds:
        await store.insert_holds(
            tx, tenant_id, [hold.run_id for hold in holds], [hold.amount for hold in holds], now
        )
