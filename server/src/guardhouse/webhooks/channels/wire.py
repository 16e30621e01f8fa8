"""Shapes of alert channels on the wire: one request per kind of channel, told apart by ``kind``."""

import re
from typing import Annotated, Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.notices.kind import Severity
from guardhouse.webhooks.channels.config import PAGERDUTY_URL, Quiet, read_config
from guardhouse.webhooks.queries import Figures
from guardhouse.webhooks.send import Delivered, Outcome, Unreachable
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.wire import Kinds, Url

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_CLOCK: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


def _check_address(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise ValueError("this is no plain mail address such as on-call@example.com")
    return address


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name[:50]!r} is no time zone such as Europe/Berlin or UTC") from None
    return name


Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
MailAddress = Annotated[str, Field(min_length=3, max_length=254), AfterValidator(_check_address)]
Recipients = Annotated[
    list[MailAddress], Field(min_length=1, max_length=20, examples=[["on-call@example.com"]])
]
RoutingKey = Annotated[
    str,
    Field(pattern=r"^[0-9A-Za-z]{32}$", description="Integration key of Events API v2; never shown again."),
]
GroupSeconds = Annotated[int, Field(ge=0, le=3600, description="Told once per subject in this time.")]
MaxPerHour = Annotated[int, Field(ge=1, le=1000, description="What is over it comes as one summary.")]
Escalations = Annotated[bool, Field(description="Tell of an open incident again when it grows worse.")]
Stream = Annotated[str, Field(min_length=1, max_length=200)]


class QuietHours(BaseModel):
    """Hours in which only critical notices pass; the rest comes as one summary at their end."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[str, Field(pattern=_CLOCK, examples=["22:00"])]
    end: Annotated[str, Field(pattern=_CLOCK, examples=["07:00"])]
    timezone: Annotated[
        str, Field(max_length=50, examples=["Europe/Berlin"]), AfterValidator(_check_zone)
    ] = "UTC"

    @model_validator(mode="after")
    def _is_a_part_of_the_day(self) -> "QuietHours":
        if self.start == self.end:
            raise ValueError("start and end are the same time")
        return self


class _Channel(BaseModel):
    """What every kind of channel takes."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    kinds: Kinds
    min_severity: Severity = Severity.INFO
    project_id: UUID | None = None
    stream: Stream | None = None
    quiet_hours: QuietHours | None = None
    group_seconds: GroupSeconds = 60
    max_per_hour: MaxPerHour = 20
    escalations: Escalations = False


class WebhookChannelRequest(_Channel):
    """A channel that sends signed webhooks, under the rules of channels."""

    kind: Literal["webhook"]
    url: Url


class SlackChannelRequest(_Channel):
    """A channel to an incoming webhook of Slack, or of whoever reads its format."""

    kind: Literal["slack"]
    url: Annotated[Url, Field(description="Kept like a secret: never shown again.")]


class PagerDutyChannelRequest(_Channel):
    """A channel to a service of PagerDuty."""

    kind: Literal["pagerduty"]
    routing_key: RoutingKey
    base_url: Url = PAGERDUTY_URL


class EmailChannelRequest(_Channel):
    """A channel by mail."""

    kind: Literal["email"]
    to: Recipients


ChannelRequest = Annotated[
    WebhookChannelRequest | SlackChannelRequest | PagerDutyChannelRequest | EmailChannelRequest,
    Field(discriminator="kind"),
]


class ChannelChange(BaseModel):
    """What `PATCH /channels/{id}` takes; absent members stay, ``null`` clears where it may be absent."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    kinds: Kinds | None = None
    min_severity: Severity | None = None
    project_id: UUID | None = None
    stream: Stream | None = None
    quiet_hours: QuietHours | None = None
    group_seconds: GroupSeconds | None = None
    max_per_hour: MaxPerHour | None = None
    escalations: Escalations | None = None
    state: Literal["active", "paused"] | None = None
    url: Url | None = None
    routing_key: RoutingKey | None = None
    base_url: Url | None = None
    to: Recipients | None = None


class ChannelShape(BaseModel):
    """A channel; its URL or key is shown as far as it is no secret."""

    id: UUID
    kind: Literal["webhook", "slack", "pagerduty", "email"]
    name: str
    target: Annotated[str, Field(description="Where it goes, without what is secret of it.")]
    to: list[str]
    kinds: list[str]
    min_severity: Severity
    project_id: UUID | None
    stream: str | None
    quiet_hours: QuietHours | None
    group_seconds: int
    max_per_hour: int
    escalations: bool
    state: Literal["active", "throttled", "paused", "disabled"]
    reason: str | None
    success_share: Annotated[float | None, Field(description="Of the last 200 tries.", ge=0, le=1)]
    pending: int
    last_error: str | None
    last_success_at: str | None
    created_by: str
    created_at: str
    updated_at: str


class NewChannelShape(ChannelShape):
    """A channel as made; ``secret`` of a webhook channel is shown once."""

    secret: ShownOnce = None
    warning: str | None = None


class ChannelList(BaseModel):
    """One page of channels."""

    data: list[ChannelShape]
    pagination: Pagination


class ChannelTestRequest(BaseModel):
    """Which kind the sample is of."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(max_length=100)] = "webhook.test"


class ChannelTestShape(BaseModel):
    """How a sample went."""

    delivered: bool
    status: int | None
    error: str | None
    latency_ms: float
    address: str | None
    answer: Annotated[str, Field(description="The first kilobyte of what the other side said.")]


def channel_shape(endpoint: Endpoint, figures: Figures) -> ChannelShape:
    """Return the public form of a channel."""
    config, narrowed = read_config(endpoint.channel_config), endpoint.filter
    return ChannelShape(
        id=endpoint.id,
        kind=endpoint.channel,
        name=config.name,
        target=endpoint.url,
        to=list(config.to),
        kinds=list(endpoint.kinds),
        min_severity=narrowed.min_severity,
        project_id=narrowed.project_id,
        stream=config.stream,
        quiet_hours=None if config.quiet_hours is None else _quiet_shape(config.quiet_hours),
        group_seconds=config.group_seconds,
        max_per_hour=config.max_per_hour,
        escalations=config.escalations,
        state=endpoint.state,
        reason=endpoint.reason,
        success_share=figures.success_share,
        pending=figures.pending,
        last_error=endpoint.last_error,
        last_success_at=None if endpoint.last_success_at is None else rfc3339(endpoint.last_success_at),
        created_by=endpoint.created_by,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


def quiet_of(shape: QuietHours | None) -> Quiet | None:
    """Return quiet hours as they are stored."""
    return None if shape is None else Quiet(shape.start, shape.end, shape.timezone)


def test_shape(outcome: Outcome) -> ChannelTestShape:
    """Return how a sample went."""
    answered: dict[str, Any] = {"status": None, "answer": ""}
    if not isinstance(outcome, Unreachable):
        answered = {"status": outcome.status, "answer": outcome.answer.decode(errors="replace")}
    return ChannelTestShape(
        delivered=isinstance(outcome, Delivered),
        error=None if isinstance(outcome, Delivered) else outcome.error,
        latency_ms=outcome.latency_ms,
        address=outcome.address,
        **answered,
    )


def _quiet_shape(quiet: Quiet) -> QuietHours:
    return QuietHours(start=quiet.start, end=quiet.end, timezone=quiet.timezone)
