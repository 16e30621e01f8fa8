"""Shapes of runs on the wire: the flat names and the nested ones, in one object."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.money import UsdIn, UsdOut, format_usd
from guardhouse.foundation.pages import Pagination
from guardhouse.ledger.fee import minimum_fee
from guardhouse.runs.packs.registry import Installed
from guardhouse.runs.states import MoneyState, Status
from guardhouse.runs.store import NewRun, Run

POLL_MS: Final = 1_500
RELIABILITY: Final = 800
Micros = Annotated[int, Field(description="Millionths of a dollar, a multiple of 100.")]
Ceiling = Annotated[
    Any,
    Field(
        description="What the run may cost at most, in dollars: a string with up to four decimals.",
        json_schema_extra={
            "type": "string",
            "pattern": r"^\d{1,5}(\.\d{1,4})?$",
            "examples": ["5.00"],
        },
    ),
]


class ReservationRequest(BaseModel):
    """What the run may take: money, time, patience."""

    model_config = ConfigDict(extra="forbid", title="RunReservationRequest")

    max_cost_usd: Ceiling = None
    timebox_sec: Annotated[
        int | None, Field(ge=1, le=900, description="Seconds of work; the pack says how many at most.")
    ] = None
    min_reliability_score: Annotated[float | None, Field(ge=0, le=1)] = None
    queue_sec: Annotated[int, Field(ge=60, le=86_400, description="How long it may wait for a worker.")] = 900


class RunMetaRequest(BaseModel):
    """The client's own marks; they come back unchanged."""

    model_config = ConfigDict(extra="forbid", title="RunMetaRequest")

    trace_id: Annotated[str | None, Field(max_length=128)] = None
    profile_version: Annotated[str | None, Field(max_length=64)] = None


class RunRequest(BaseModel):
    """Work to buy. One of the two ceilings is needed: nothing is held without one."""

    model_config = ConfigDict(extra="forbid", title="RunRequest")

    pack_type: Annotated[str, Field(max_length=64, examples=["decision"])]
    inputs: Annotated[dict[str, Any], Field(examples=[{"question": "Postgres or MySQL?", "mode": "brief"}])]
    max_cost_usd: Ceiling = None
    reservation: ReservationRequest | None = None
    label: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    meta: RunMetaRequest | None = None


class RunPoll(BaseModel):
    """Where and how often to look."""

    href: str
    recommended_interval_ms: int
    max_wait_sec: int


class RunReservation(BaseModel):
    """What was held, and until when the run may wait."""

    max_cost_usd: UsdOut
    currency: Literal["USD"] = "USD"
    timebox_sec: int
    min_reliability_score: float
    expires_at: datetime


class RunCost(BaseModel):
    """Dollars as strings."""

    reserved_usd: UsdOut
    used_usd: UsdOut
    minimum_fee_usd: UsdOut
    quote_usd: UsdOut | None = None
    budget_remaining_usd: UsdOut


class RunMeta(BaseModel):
    """The client's marks and the run's times."""

    created_at: datetime
    updated_at: datetime | None = None
    trace_id: str | None
    profile_version: str | None


class RunReceipt(BaseModel):
    """A run that was taken in; its money is held."""

    model_config = ConfigDict(title="RunReceipt")

    run_id: UUID
    pack_type: str
    pack_version: str
    price_version: str
    status: Literal["QUEUED"]
    money_state: Literal["RESERVED"]
    created_at: datetime
    reserved_cost_usd: UsdOut
    reserved_cost_micros: Micros
    poll: RunPoll
    reservation: RunReservation
    cost: RunCost
    meta: RunMeta


class RunObject(BaseModel):
    """A file of the result with a link that lives ten minutes."""

    name: str
    bytes: int
    sha256: str
    presigned_url: str | None


class RunResult(BaseModel):
    """The result of a completed run."""

    presigned_url: str | None
    sha256: str
    bytes: int
    expires_at: datetime
    artifacts: list[RunObject]


class RunError(BaseModel):
    """Why a run failed."""

    model_config = ConfigDict(extra="allow")

    reason_code: str
    detail: str
    retryable: bool


class RunShape(BaseModel):
    """A run as it stands."""

    model_config = ConfigDict(title="Run")

    run_id: UUID
    pack_type: str
    pack_version: str
    price_version: str
    status: Status
    money_state: MoneyState
    version: int
    attempt: int
    label: str | None
    result_url: str | None
    reserved_cost_usd: UsdOut
    actual_cost_usd: UsdOut | None
    actual_cost_micros: Micros | None
    refunded_usd: UsdOut
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    retention_until: datetime
    cost: RunCost
    result: RunResult | None
    error: RunError | None
    meta: RunMeta


class RunList(BaseModel):
    """A page of runs, newest first; without links."""

    data: list[RunShape]
    pagination: Pagination


def receipt_body(run: NewRun, hold: int, left: int, meta: dict[str, Any], href: str) -> dict[str, Any]:
    """Return the receipt of a run whose hold leaves so many micros available."""
    created = rfc3339(run.created_at)
    return {
        "run_id": str(run.run_id),
        "pack_type": run.pack_type,
        "pack_version": run.pack_version,
        "price_version": run.price_version,
        "status": "QUEUED",
        "money_state": "RESERVED",
        "created_at": created,
        "reserved_cost_usd": format_usd(hold),
        "reserved_cost_micros": hold,
        "poll": {
            "href": href,
            "recommended_interval_ms": POLL_MS,
            "max_wait_sec": run.timebox_seconds,
        },
        "reservation": {
            "max_cost_usd": format_usd(hold),
            "currency": "USD",
            "timebox_sec": run.timebox_seconds,
            "min_reliability_score": (
                RELIABILITY if run.min_reliability_milli is None else run.min_reliability_milli
            )
            / 1_000,
            "expires_at": rfc3339(run.created_at + timedelta(seconds=run.queue_seconds)),
        },
        "cost": {
            "reserved_usd": format_usd(hold),
            "used_usd": format_usd(0),
            "minimum_fee_usd": format_usd(minimum_fee(hold, run.quote_micros)),
            "quote_usd": format_usd(run.quote_micros),
            "budget_remaining_usd": format_usd(left),
        },
        "meta": {
            "created_at": created,
            "trace_id": meta.get("trace_id"),
            "profile_version": meta.get("profile_version"),
        },
    }


def run_shape(run: Run, left: int, result: RunResult | None = None) -> RunShape:
    """Show a run; ``left`` is what the tenant has available, in micros."""
    charged = run.charged
    return RunShape(
        run_id=run.run_id,
        pack_type=run.pack_type,
        pack_version=run.pack_version,
        price_version=run.price_version,
        status=run.status,
        money_state=run.money_state,
        version=run.version,
        attempt=run.attempt,
        label=run.label,
        result_url=result.presigned_url if result else None,
        reserved_cost_usd=format_usd(run.hold),
        actual_cost_usd=None if charged is None else format_usd(charged),
        actual_cost_micros=charged,
        refunded_usd=format_usd(run.refunded_micros),
        created_at=run.created_at,
        started_at=run.started_at,
        completed_at=run.completed_at,
        cancel_requested_at=run.cancel_requested_at,
        retention_until=run.retention_until,
        cost=RunCost(
            reserved_usd=format_usd(run.hold),
            used_usd=format_usd(charged or 0),
            minimum_fee_usd=format_usd(minimum_fee(run.hold, run.quote_micros)),
            quote_usd=format_usd(run.quote_micros),
            budget_remaining_usd=format_usd(left),
        ),
        result=result,
        error=None if run.error is None or run.status != "FAILED" else RunError(**run.error),
        meta=RunMeta(
            created_at=run.created_at,
            updated_at=run.updated_at,
            trace_id=run.meta.get("trace_id"),
            profile_version=run.meta.get("profile_version"),
        ),
    )


class RefundRequest(BaseModel):
    """How much to give back (absent: all that is left of the charge), and why."""

    model_config = ConfigDict(extra="forbid", title="RefundRequest")

    amount_usd: UsdIn | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class RefundShape(BaseModel):
    """A refund and the run as it stands after it."""

    model_config = ConfigDict(title="Refund")

    refund_id: UUID
    run: RunShape


class AuditResolutionRequest(BaseModel):
    """What to do with the money of a run that waits for a person."""

    model_config = ConfigDict(extra="forbid", title="AuditResolutionRequest")

    action: Annotated[
        Literal["settle", "release"],
        Field(description="Charge what was fixed and show the result, or give everything back."),
    ]
    note: Annotated[str, Field(min_length=1, max_length=500)]


class RunQuery(BaseModel):
    """Which runs to list."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    money_state: MoneyState | None = None
    pack_type: Annotated[str | None, Field(max_length=64)] = None
    label: Annotated[str | None, Field(max_length=64)] = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class PackPriceLine(BaseModel):
    """One line of a price list."""

    unit: str
    price_usd: UsdOut


class PackShape(BaseModel):
    """A pack: what it takes, what it gives, what it costs, where it comes from."""

    model_config = ConfigDict(title="Pack")

    pack_type: str
    version: str
    summary: str
    inputs_schema: dict[str, Any]
    output_schema: dict[str, Any]
    timebox_sec: int
    timebox_sec_max: int
    max_attempts: int
    price_version: str
    base_usd: UsdOut
    prices: list[PackPriceLine]
    distribution: str
    distribution_version: str
    source_sha256: str


class PackList(BaseModel):
    """Every pack of this installation, by name."""

    data: list[PackShape]


def pack_shape(one: Installed) -> PackShape:
    """Show a pack."""
    pack = one.pack
    return PackShape(
        pack_type=pack.name,
        version=pack.version,
        summary=pack.summary,
        inputs_schema=pack.inputs.model_json_schema(),
        output_schema=pack.output.model_json_schema(),
        timebox_sec=pack.timebox.usual,
        timebox_sec_max=pack.timebox.most,
        max_attempts=pack.max_attempts,
        price_version=pack.price.version,
        base_usd=format_usd(pack.price.base_micros),
        prices=[
            PackPriceLine(unit=line.unit, price_usd=format_usd(line.micros)) for line in pack.price.lines
        ],
        distribution=one.distribution,
        distribution_version=one.distribution_version,
        source_sha256=one.source_sha256,
    )


class QuoteRequest(BaseModel):
    """Inputs to price."""

    model_config = ConfigDict(extra="forbid", title="QuoteRequest")

    inputs: Annotated[dict[str, Any], Field(examples=[{"question": "Postgres or MySQL?", "mode": "brief"}])]


class QuoteShape(BaseModel):
    """What the inputs would cost: as far as they tell, and at most (null: only the ceiling bounds it)."""

    model_config = ConfigDict(title="Quote")

    quote_usd: UsdOut
    upper_bound_usd: UsdOut | None
    price_version: str
