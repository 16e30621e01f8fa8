"""The end of a run: its row, the resolution of its hold, usage and the notice are one commit.

The row is closed first, then the hold resolved: the database refuses the one without the other.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.ledger.resolve import Resolution, resolve_all
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunCancelled, RunCompleted, RunFailed
from guardhouse.runs import store
from guardhouse.runs.states import RETRYABLE, Told, charge_for, told
from guardhouse.runs.store import Run

# What a step insists on beside the version, over the row's columns; ``$3`` is now.
UNCLAIMED: Final = "finalize_stage IS NULL"
LEASED: Final = f"status = 'PROCESSING' AND lease_expires_at >= $3 AND {UNCLAIMED}"
LEASE_LOST: Final = f"status = 'PROCESSING' AND lease_expires_at < $3 AND {UNCLAIMED}"
QUEUED: Final = "status = 'QUEUED'"
CLAIMED: Final = "status = 'PROCESSING' AND finalize_stage = 'CLAIMED' AND money_state = 'RESERVED'"


def held_by(run: Run) -> str:
    """Return the condition that the worker which holds this run still does."""
    return f"{LEASED} AND lease_token = '{run.lease_token}'"


def claimed_by(run: Run) -> str:
    """Return the condition that the run is claimed for its end by the one who reads it so."""
    return f"{CLAIMED} AND finalize_token = '{run.finalize_token}'"


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends: what its row says, who pays how much, what is told, and what has to hold for it."""

    status: str
    reason: str
    charged: int
    kind: Told
    where: str
    error: dict[str, Any] | None = None

    @property
    def sets(self) -> dict[str, Any]:
        """Return what the row gets."""
        completed = self.status == "COMPLETED"
        return {
            "status": self.status,
            "money_state": "SETTLED" if self.charged else "REFUNDED",
            "charged": self.charged,
            "lease_expires_at": None,
            **({"finalize_stage": "COMMITTED"} if completed else {"result_objects": None}),
            **({} if completed else {"reason_code": self.reason, "error": self.error}),
        }


def completed(run: Run, where: str | None = None) -> End:
    """A claimed run is charged what its row says, and its result can be read."""
    return End("COMPLETED", "COMPLETED", run.actual_micros or 0, RunCompleted, where or claimed_by(run))


def failed(run: Run, reason: str, detail: str, where: str, **more: Any) -> End:
    """A run ends without a result; the reason says who pays."""
    error = {"reason_code": reason, "detail": detail, "retryable": reason in RETRYABLE, **more}
    return End("FAILED", reason, charge_for(reason, run), RunFailed, where, error)


def cancelled(run: Run, where: str, *, at_work: bool) -> End:
    """A run ends on request; one that a worker was at costs the minimum fee."""
    return End("CANCELLED", "CANCELLED", charge_for("CANCELLED", run) if at_work else 0, RunCancelled, where)


async def claim_end(
    tx: Tx, run: Run, objects: list[dict[str, Any]], token: UUID, now: datetime, micros: int
) -> Run | None:
    """Fix for good what a run's result is and costs, before a byte of it is stored.

    None: the lease is lost, or the end of the run was asked for; then nothing may be uploaded.
    """
    sets = {
        "finalize_stage": "CLAIMED",
        "finalize_token": token,
        "claimed_at": now,
        "result_objects": objects,
        "actual_micros": micros,
    }
    return await store.change(tx, run, now, sets, f"{held_by(run)} AND cancel_requested_at IS NULL")


async def end(tx: Tx, run: Run, how: End, now: datetime) -> Run | None:
    """End a run. None: it is at another version, or what this end insists on does not hold; nothing is done."""
    sets = {**how.sets, "resolved_run_id": run.run_id, "completed_at": now}
    closed = await store.change(tx, run, now, sets, how.where)
    if closed is None:
        return None
    expired = how.reason == "RESERVATION_EXPIRED"
    resolution = Resolution(run.run_id, run.tenant_id, run.hold, how.charged, how.reason, expired)
    await resolve_all(tx, [resolution], now)
    await publish_all(tx, [told(how.kind, closed)])
    return closed
