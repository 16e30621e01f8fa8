"""Resolve holds: what was used is posted, the rest returns; once per hold, whatever happens around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.ledger import store

Outcome = Literal["posted", "voided", "expired"]


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ends: ``posted`` micros are charged, the rest of ``hold`` is released.

    With nothing charged it is voided, or expired.
    """

    run_id: UUID
    tenant_id: UUID
    hold: int
    posted: int
    reason: str
    expired: bool = False

    @property
    def outcome(self) -> Outcome:
        """The word of the books for it."""
        if self.posted:
            return "posted"
        return "expired" if self.expired else "voided"


async def resolve_all(tx: Tx, resolutions: Sequence[Resolution], now: datetime) -> None:
    """Resolve holds of runs that this transaction has closed already (their rows are locked and say so).

    The database refuses a second resolution, one of an open run, and one that does not sum to its hold.
    """
    if resolutions:
        await store.insert_resolutions(
            tx,
            [
                (one.run_id, one.tenant_id, one.hold, one.outcome, one.posted, one.reason)
                for one in resolutions
            ],
            now,
        )
