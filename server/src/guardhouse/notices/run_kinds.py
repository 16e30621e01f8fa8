"""Notices about runs: one per step of a run, in the order of its versions."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from guardhouse.foundation.money import UsdOut
from guardhouse.notices.kind import NoticeData, Severity


class _Run(NoticeData):
    scope: ClassVar[str] = "runs:read"
    example: ClassVar[Mapping[str, Any]] = {
        "run_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b30",
        "pack_type": "decision",
        "status": "COMPLETED",
        "money_state": "SETTLED",
        "reserved_cost_usd": "5.0000",
        "actual_cost_usd": "0.0200",
        "attempt": 1,
        "reason_code": None,
        "label": None,
        "trace_id": None,
    }

    run_id: UUID
    pack_type: str
    status: str
    money_state: str
    reserved_cost_usd: UsdOut
    actual_cost_usd: UsdOut | None
    attempt: int
    reason_code: str | None
    label: str | None
    trace_id: str | None

    @property
    def subject(self) -> str:
        """Return the run."""
        return f"run:{self.run_id}"


class RunCreated(_Run):
    """A run is queued and its money held."""

    kind: ClassVar[str] = "run.created"


class RunStarted(_Run):
    """A worker has taken the run."""

    kind: ClassVar[str] = "run.started"


class RunRequeued(_Run):
    """The run's worker fell silent; another one will take it."""

    kind: ClassVar[str] = "run.requeued"

    @property
    def severity(self) -> Severity:
        """Something broke, nothing is lost."""
        return Severity.LOW


class RunCompleted(_Run):
    """The run is done, paid, and its result can be read."""

    kind: ClassVar[str] = "run.completed"


class RunFailed(_Run):
    """The run ended without a result."""

    kind: ClassVar[str] = "run.failed"

    @property
    def severity(self) -> Severity:
        """Somebody waits for what will not come."""
        return Severity.MEDIUM


class RunCancelled(_Run):
    """The run was ended on request."""

    kind: ClassVar[str] = "run.cancelled"


class RunExpired(_Run):
    """The result is no longer kept."""

    kind: ClassVar[str] = "run.expired"


class RunAuditRequired(_Run):
    """What is stored of the run contradicts what was written of it: a person has to decide about its money."""

    kind: ClassVar[str] = "run.audit_required"

    @property
    def severity(self) -> Severity:
        """The one state that a machine must not decide."""
        return Severity.CRITICAL


class RunAuditResolved(_Run):
    """A person has decided about the run's money."""

    kind: ClassVar[str] = "run.audit_resolved"


class RunRefunded(_Run):
    """Part or all of the charge was given back."""

    kind: ClassVar[str] = "run.refunded"
