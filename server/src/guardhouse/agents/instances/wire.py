"""Shapes of processes that report in, as the API gives them out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from guardhouse.agents.instances.delivery import Delivery
from guardhouse.agents.instances.ledger import Account
from guardhouse.agents.instances.ledger import settle as settle_lane
from guardhouse.agents.instances.sender import Generation, generation_of
from guardhouse.agents.instances.settle import interval_in, refresh, unaccounted_in
from guardhouse.agents.instances.state import State
from guardhouse.agents.instances.store import Instance, Report
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination

REMARKS: Final = {
    "project_id_differs": "The header and the body name different projects; the header counted.",
    "clock_skew": "The clock of the process is more than five minutes off, or items came with unusable times.",
    "status_unreadable": "A status came that could not be read.",
    "malformed_body": "A batch came that could not be read; its bytes are in quarantine.",
    "doubled_path": "The endpoint is configured with /api/v1 at its end, which this client adds itself; take it off.",
    "no_rules": "This client does not apply dynamic rules.",
    "unverified": "Payloads are signed, and the project has no signing secret to check them with.",
    "undecryptable": "Sealed envelopes came that no key of the project opens; they are held until one does.",
    "ledger_unreadable": "The delivery ledger had a figure that is no count; it was left out.",
    "ledger_backwards": "A later delivery ledger counted less than an earlier one.",
}

WHY_NO_MORE: Final = (
    "These clients do not report what they captured, dropped or still hold, so what never arrived cannot be known;"
    " received, duplicates and the re-send factor are all that can be counted here."
)


class InstanceQuery(BaseModel):
    """Filters of the list of instances."""

    archived: Annotated[bool, Field(description="Those not heard for 30 days instead of the others.")] = False


class RemarkShape(BaseModel):
    """Something that whoever runs the process should know."""

    code: str
    detail: str
    last_at: str | None


class ReceivedShape(BaseModel):
    """What came in, as the server counted it."""

    stored: int
    rolled_up: int
    duplicates: int
    rejected: int


class AccountShape(BaseModel):
    """Where everything captured is; the parts and `unaccounted` add up to `captured`."""

    captured: int
    stored: Annotated[int, Field(description="Rows here.")]
    rolled_up: Annotated[int, Field(description="Noise kept here as counts.")]
    duplicates: Annotated[int, Field(description="Items that were here already, from another process.")]
    rejected: int
    merged: Annotated[int, Field(description="Items that the agent put together with an equal one.")]
    dropped: Annotated[dict[str, int], Field(description="Items that the agent gave up, by reason.")]
    pending: Annotated[int, Field(description="Items that the agent still has.")]
    unaccounted: Annotated[
        int, Field(description="What is left over: not 0 is a loss, below 0 more is here than was captured.")
    ]


class LedgerShape(BaseModel):
    """The delivery ledger of a process, laid beside what is stored."""

    seq: int
    at: str
    events: AccountShape
    metrics: AccountShape
    pending: Annotated[
        dict[str, dict[str, int]], Field(description="By lane, then by place, as the agent says.")
    ]
    unaccounted_since: str | None


class RulesShape(BaseModel):
    """Revisions of the dynamic rules; null: never."""

    served: int | None
    served_at: str | None
    applied: int | None
    applied_at: str | None


class InstanceShape(BaseModel):
    """One process that reports in."""

    id: str
    installation: str
    generation: Annotated[
        Generation, Field(description="`GH` is this project's agent, `G1` to `G3` are released ones.")
    ]
    state: State
    agent_version: str | None
    guard_version: str | None
    guard_core_version: str | None
    started_at: str | None
    first_seen: str
    last_seen: str
    last_report: str | None
    interval_seconds: Annotated[int, Field(description="How often it reports, as learned.")]
    heir_id: Annotated[str | None, Field(description="The process that took over what this one left behind.")]
    archived: bool
    remarks: list[RemarkShape]


class ReportShape(BaseModel):
    """One status as it came."""

    received_at: str
    report: dict[str, Any]


class InstanceDetail(InstanceShape):
    """One process with all that is known of it."""

    user_agent: str
    signature_form: str | None
    encryption: str | None
    rules: RulesShape
    process: Annotated[dict[str, Any], Field(description="What it said of itself: pid, host, service, tags.")]
    batches: int
    replays: Annotated[int, Field(description="Batches that came once more, unchanged.")]
    received_of: Annotated[
        Literal["instance", "installation"],
        Field(
            description="Released agents do not say which process a batch is from: it counts for the one of"
            " the installation that reported last."
        ),
    ]
    events: ReceivedShape
    metrics: ReceivedShape
    ledger: LedgerShape | None
    reports: Annotated[list[ReportShape], Field(max_length=100, description="The newest first.")]


class InstanceList(BaseModel):
    """One page of instances."""

    data: list[InstanceShape]
    pagination: Pagination


class OpenShape(BaseModel):
    """A process that captured something nobody can account for."""

    id: str
    installation: str
    unaccounted: Annotated[int, Field(description="Items too few or too many, both lanes together.")]
    since: str | None


class ExactShape(BaseModel):
    """Processes that keep a ledger, together; what is printed here is counted, never estimated."""

    instances: int
    events: AccountShape
    metrics: AccountShape
    unaccounted: Annotated[list[OpenShape], Field(max_length=100)]


class ReleasedShape(BaseModel):
    """Clients of one generation that keep no ledger."""

    generation: Generation
    installations: int
    batches: int
    replays: Annotated[int, Field(description="Batches that came once more, unchanged.")]
    events: ReceivedShape
    metrics: ReceivedShape
    resend_factor: Annotated[
        float | None, Field(description="Items received for each one that was new; 1 is no re-send.")
    ]


class DeliveryShape(BaseModel):
    """What of everything captured in a project has arrived, and where the rest is."""

    project_id: str
    exact: ExactShape
    without_ledger: list[ReleasedShape]
    why: Annotated[str | None, Field(description="Why there is no more to say of those without a ledger.")]


def delivery_shape(project_id: UUID, delivery: Delivery) -> DeliveryShape:
    """Return the delivery view of a project."""
    exact = delivery.exact
    return DeliveryShape(
        project_id=str(project_id),
        exact=ExactShape(
            instances=exact.instances,
            events=account_shape(exact.events),
            metrics=account_shape(exact.metrics),
            unaccounted=[
                OpenShape(
                    id=str(instance.id),
                    installation=instance.installation,
                    unaccounted=unaccounted_in(instance),
                    since=_time(instance.unaccounted_since),
                )
                for instance in exact.open
            ],
        ),
        without_ledger=[
            ReleasedShape(
                generation=counts.generation,
                installations=counts.installations,
                batches=counts.batches,
                replays=counts.replays,
                events=received_shape(counts.events),
                metrics=received_shape(counts.metrics),
                resend_factor=None if counts.resend_factor is None else round(counts.resend_factor, 4),
            )
            for counts in delivery.released
        ],
        why=WHY_NO_MORE if delivery.released else None,
    )


def instance_shape(instance: Instance, now: datetime) -> InstanceShape:
    """Return an instance as a list shows it, with its state at this moment."""
    refresh(instance, now)
    return InstanceShape(**_members(instance))


def instance_detail(instance: Instance, reports: Sequence[Report], now: datetime) -> InstanceDetail:
    """Return all that is known of an instance."""
    refresh(instance, now)
    return InstanceDetail(
        **_members(instance),
        user_agent=instance.user_agent,
        signature_form=instance.signature_form,
        encryption=instance.encryption,
        rules=RulesShape(
            served=instance.rules_served,
            served_at=_time(instance.rules_served_at),
            applied=instance.rules_applied,
            applied_at=_time(instance.rules_applied_at),
        ),
        process=instance.process,
        batches=instance.batches,
        replays=instance.replays,
        received_of="instance" if instance.named else "installation",
        events=received_shape(instance.events),
        metrics=received_shape(instance.metrics),
        ledger=_ledger(instance),
        reports=[ReportShape(received_at=rfc3339(r.received_at), report=r.report) for r in reports],
    )


def received_shape(received: Any) -> ReceivedShape:
    """Return one lane as the server counts it."""
    return ReceivedShape.model_validate(received, from_attributes=True)


def account_shape(account: Account) -> AccountShape:
    """Return one lane's account."""
    return AccountShape.model_validate(account, from_attributes=True)


def _members(instance: Instance) -> dict[str, Any]:
    generation = generation_of(instance.user_agent)
    remarks: dict[str, str | None] = dict(instance.remarks)
    if generation == "G1":
        remarks["no_rules"] = None
    return {
        "id": str(instance.id),
        "installation": instance.installation,
        "generation": generation,
        "state": instance.state,
        "agent_version": instance.agent_version,
        "guard_version": instance.guard_version,
        "guard_core_version": instance.guard_core_version,
        "started_at": _time(instance.started_at),
        "first_seen": rfc3339(instance.first_seen_at),
        "last_seen": rfc3339(instance.last_seen_at),
        "last_report": _time(instance.last_report_at),
        "interval_seconds": round(interval_in(instance).total_seconds()),
        "heir_id": None if instance.heir_id is None else str(instance.heir_id),
        "archived": instance.archived_at is not None,
        "remarks": [
            RemarkShape(code=code, detail=REMARKS.get(code, code), last_at=at)
            for code, at in sorted(remarks.items())
        ],
    }


def _ledger(instance: Instance) -> LedgerShape | None:
    ledger = instance.ledger
    if ledger is None or instance.seq is None or instance.ledger_at is None:
        return None
    return LedgerShape(
        seq=instance.seq,
        at=rfc3339(instance.ledger_at),
        events=account_shape(settle_lane(ledger.events, instance.events)),
        metrics=account_shape(settle_lane(ledger.metrics, instance.metrics)),
        pending={"events": ledger.events.pending, "metrics": ledger.metrics.pending},
        unaccounted_since=_time(instance.unaccounted_since),
    )


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
