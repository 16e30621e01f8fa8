"""Shapes of deliveries, dead letters and replays on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Instant
from guardhouse.webhooks import sign
from guardhouse.webhooks.queries import Attempt, Body, Delivery
from guardhouse.webhooks.replay import Asked
from guardhouse.webhooks.replay_store import Progress, Replay

DeliveryState = Literal["pending", "delivered", "exhausted", "discarded", "cancelled"]


class DeliveryShape(BaseModel):
    """One message on its way to one endpoint."""

    id: UUID
    webhook_id: UUID
    message_id: Annotated[str, Field(description="`webhook-id` as sent.")]
    kind: str
    subject: str
    state: DeliveryState
    replay: Annotated[int, Field(description="Which replay of the endpoint made it; 0 = none.")]
    tries: int
    next_try_at: str | None
    waits_for_order: bool
    last_status: int | None
    last_error: str | None
    occurred_at: str
    created_at: str
    finished_at: str | None


class AttemptShape(BaseModel):
    """One try of a delivery."""

    number: int
    at: str
    outcome: Literal["delivered", "rejected", "unreachable"]
    status: int | None
    error: str | None
    latency_ms: float
    address: str | None
    headers: Annotated[
        dict[str, str], Field(description="What was signed and how; custom headers are left out.")
    ]
    response_head: str


class DeliveryDetail(DeliveryShape):
    """A delivery with its tries and the exact bytes that were signed."""

    attempts: list[AttemptShape]
    body: Annotated[str, Field(description="The body as sent, byte for byte.")]


class DeliveryList(BaseModel):
    """One page of deliveries."""

    data: list[DeliveryShape]
    pagination: Pagination


class DeliveryQuery(BaseModel):
    """Filters of deliveries."""

    state: DeliveryState | None = None
    status: Annotated[int, Field(ge=100, le=599, description="Status of the last answer.")] | None = None
    kind: Annotated[str, Field(max_length=100)] | None = None
    since: Instant | None = None
    until: Instant | None = None


class DeadLetterQuery(BaseModel):
    """Filters of dead letters."""

    webhook_id: UUID | None = None
    kind: Annotated[str, Field(max_length=100)] | None = None
    since: Instant | None = None
    until: Instant | None = None


class DiscardRequest(BaseModel):
    """Which dead letters to give up: by id, or all of one endpoint."""

    model_config = ConfigDict(extra="forbid")

    delivery_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    webhook_id: UUID | None = None

    @model_validator(mode="after")
    def _one_way_to_name_them(self) -> "DiscardRequest":
        if (self.delivery_ids is None) == (self.webhook_id is None):
            raise ValueError("give delivery_ids or webhook_id")
        return self


class DiscardedShape(BaseModel):
    """How many were discarded; of an endpoint at most a thousand per call."""

    discarded: int


class ReplayRequest(BaseModel):
    """What to send again."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["one", "range", "failed", "missing"]
    since: Instant | None = None
    until: Instant | None = None
    message_id: Annotated[str, Field(pattern=r"^(msg_)?[0-9a-fA-F-]{32,36}$", max_length=40)] | None = None


class ReplayShape(BaseModel):
    """A replay and how far it is."""

    id: UUID
    webhook_id: UUID
    mode: Literal["one", "range", "failed", "missing"]
    since: str
    until: str
    state: Literal["running", "done", "cancelled"]
    looked_at: int
    queued: int
    pending: int
    delivered: int
    exhausted: int
    cancelled: int
    created_at: str
    finished_at: str | None


def delivery_values(found: Delivery) -> dict[str, Any]:
    """Return the members of a delivery's public form."""
    return {
        "id": found.id,
        "webhook_id": found.endpoint_id,
        "message_id": sign.webhook_id(found.message_id),
        "kind": found.kind,
        "subject": found.subject,
        "state": found.state,
        "replay": found.replay,
        "tries": found.tries,
        "next_try_at": _time(found.next_at) if found.state == "pending" else None,
        "waits_for_order": found.state == "pending" and found.next_at is None,
        "last_status": found.last_status,
        "last_error": found.last_error,
        "occurred_at": rfc3339(found.message_at),
        "created_at": rfc3339(found.created_at),
        "finished_at": _time(found.finished_at),
    }


def delivery_shape(found: Delivery) -> DeliveryShape:
    """Return the public form of a delivery."""
    return DeliveryShape(**delivery_values(found))


def delivery_detail(found: Delivery, attempts: list[Attempt], body: Body | None) -> DeliveryDetail:
    """Return a delivery with its tries; the bytes are gone with the day of the message."""
    return DeliveryDetail(
        **delivery_values(found),
        attempts=[
            AttemptShape(
                number=one.number,
                at=rfc3339(one.at),
                outcome=one.outcome,
                status=one.status,
                error=one.error,
                latency_ms=round(one.latency_ms, 3),
                address=one.address,
                headers={
                    "webhook-id": sign.webhook_id(found.message_id),
                    "webhook-timestamp": str(int(one.at.timestamp())),
                    "webhook-signature": one.signature,
                    "x-event-type": body.event_type if body else found.kind,
                    "x-delivery-id": str(found.id),
                },
                response_head=one.answer.decode("utf-8", "replace"),
            )
            for one in attempts
        ],
        body=body.body.decode() if body else "",
    )


def asked_replay(wanted: ReplayRequest) -> Asked:
    """Return what a request asks to send again."""
    text = wanted.message_id
    try:
        message_id = None if text is None else UUID(text.removeprefix("msg_"))
    except ValueError:
        raise ValidationFailed(
            "The message_id is none.",
            errors=[{"pointer": "/message_id", "code": "format", "detail": "as `webhook-id` was sent"}],
        ) from None
    return Asked(wanted.mode, wanted.since, wanted.until, message_id)


def place_in(after: list[Any] | None) -> tuple[datetime, int] | None:
    """Return the place that a cursor of deliveries names."""
    return None if after is None else (datetime.fromisoformat(after[0]), after[1])


def replay_shape(found: Replay, progress: Progress) -> ReplayShape:
    """Return the public form of a replay."""
    return ReplayShape(
        id=found.id,
        webhook_id=found.endpoint_id,
        mode=found.mode,
        since=rfc3339(found.since),
        until=rfc3339(found.until),
        state=found.state,
        looked_at=found.looked_at,
        queued=found.queued,
        pending=progress.pending,
        delivered=progress.delivered,
        exhausted=progress.exhausted,
        cancelled=progress.cancelled,
        created_at=rfc3339(found.created_at),
        finished_at=_time(found.finished_at),
    )


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)
