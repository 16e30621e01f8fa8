"""The words of runs, and who pays for which end."""

from typing import Final, Literal

from guardhouse.foundation.money import format_usd
from guardhouse.ledger.fee import minimum_fee
from guardhouse.notices.publish import Draft, Origin
from guardhouse.notices.run_kinds import (
    RunAuditRequired,
    RunAuditResolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunExpired,
    RunFailed,
    RunRefunded,
    RunRequeued,
    RunStarted,
)
from guardhouse.runs.store import Run

Status = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED"]
MoneyState = Literal["NONE", "RESERVED", "SETTLED", "REFUNDED", "AUDIT_REQUIRED", "DISPUTED"]
Told = type[
    RunCreated
    | RunStarted
    | RunRequeued
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunExpired
    | RunAuditRequired
    | RunAuditResolved
    | RunRefunded
]

# Ends that are the request's own doing cost the minimum fee; those of the platform cost nothing.
OWN_FAULT: Final = frozenset(
    {
        "PACK_INPUT_REJECTED",
        "URL_BLOCKED",
        "UPSTREAM_TIMEOUT",
        "PACK_EXECUTION_FAILED",
        "TIMEBOX_EXCEEDED",
        "BUDGET_EXHAUSTED",
        "RELIABILITY_BELOW_MINIMUM",
        "CANCELLED",
    }
)
RETRYABLE: Final = frozenset(
    {
        "WORKER_TIMEOUT",
        "WORKER_CRASH_DURING_FINALIZE",
        "STORAGE_WRITE_FAILED",
        "RESERVATION_EXPIRED",
        "INTERNAL_ERROR",
        "UPSTREAM_TIMEOUT",
    }
)


def charge_for(reason: str, run: Run) -> int:
    """Return what a run that ends without a result is charged, in micros."""
    return minimum_fee(run.hold, run.quote_micros) if reason in OWN_FAULT else 0


def told(kind: Told, run: Run) -> Draft:
    """Return the notice of a step that a run has taken; the run is as it stands after it."""
    data = kind(
        run_id=run.run_id,
        pack_type=run.pack_type,
        status=run.status,
        money_state=run.money_state,
        reserved_cost_usd=format_usd(run.hold),
        actual_cost_usd=None if run.charged is None else format_usd(run.charged),
        attempt=run.attempt,
        reason_code=run.reason_code,
        label=run.label,
        trace_id=run.meta.get("trace_id"),
    )
    return Draft(data, run.tenant_id, run.version, Origin(trace_id=run.meta.get("trace_id")))
