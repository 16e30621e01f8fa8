"""Shapes of endpoints on the wire; those of deliveries and replays are in ``delivery_wire``."""

import re
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.notices.kind import Severity
from guardhouse.webhooks.endpoints import NewEndpoint
from guardhouse.webhooks.narrow import Filter
from guardhouse.webhooks.queries import Figures
from guardhouse.webhooks.sample import Tried
from guardhouse.webhooks.schedule import LONGEST_STEP_SECONDS, MAX_STEPS, PRESETS
from guardhouse.webhooks.send import Delivered, Rejected
from guardhouse.webhooks.store import Endpoint

CLEARABLE: Final = frozenset({"description", "rate_per_second"})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]{0,1000}")
_OURS: Final = re.compile(
    r"(?i)host|connection|keep-alive|te|trailer|upgrade|transfer-encoding|expect|content-.*|user-agent|webhook-.*"
    r"|x-signature|x-event-type|x-delivery-id|x-correlation-id|guardhouse-.*|proxy-.*|cookie"
)


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name[:50]!r} is no header: printable ASCII, values up to 1000 characters")
        if _OURS.fullmatch(name):
            raise ValueError(f"{name} is set by the sender")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("a header is given twice")
    return headers


Url = Annotated[str, Field(min_length=1, examples=["https://example.com/hooks/guardhouse"])]
Kinds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=50, examples=[["risk.*", "key.created"]]),
]
Description = Annotated[str, Field(max_length=200)]
Secret = Annotated[
    str,
    Field(
        min_length=16, max_length=64, description="`whsec_` and base64, or a text used as its UTF-8 bytes."
    ),
]
Steps = Annotated[
    list[Annotated[float, Field(ge=1, le=LONGEST_STEP_SECONDS)]],
    Field(min_length=1, max_length=MAX_STEPS, description="Seconds between one try and the next."),
]
Headers = Annotated[dict[str, str], Field(max_length=20), AfterValidator(_check_headers)]
Timeout = Annotated[int, Field(ge=1000, le=30_000, description="Milliseconds for the whole of one try.")]
Concurrency = Annotated[int, Field(ge=1, le=64)]
Rate = Annotated[float, Field(gt=0, le=1000)]


class WebhookFilter(BaseModel):
    """What narrows an endpoint beyond its kinds."""

    model_config = ConfigDict(extra="forbid")

    min_severity: Severity = Severity.INFO
    project_id: UUID | None = None
    api_key_id: UUID | None = None
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    subject_prefix: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    risk_threshold: Annotated[
        int | None,
        Field(
            ge=1, le=100, description="Of `risk_threshold_crossed` alone: the `risk_score` to tell from; 70."
        ),
    ] = None


class WebhookSchedule(BaseModel):
    """When a delivery that failed is tried again."""

    model_config = ConfigDict(extra="forbid")

    preset: Literal["standard", "three_strikes", "custom"] = "standard"
    steps_seconds: Steps | None = None

    @model_validator(mode="after")
    def _steps_belong_to_custom(self) -> "WebhookSchedule":
        if (self.preset == "custom") != (self.steps_seconds is not None):
            raise ValueError("steps_seconds belongs to the preset custom, and only to it")
        return self


class WebhookRequest(BaseModel):
    """What `POST /webhooks` takes."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    kinds: Kinds
    description: Description | None = None
    secret: Secret | None = None
    filter: WebhookFilter = WebhookFilter()
    schedule: WebhookSchedule = WebhookSchedule()
    timeout_ms: Timeout = 15_000
    concurrency: Concurrency = 8
    rate_per_second: Rate | None = None
    fifo: Annotated[bool, Field(description="Keep the order per subject.")] = False
    custom_headers: Headers = {}
    asymmetric: Annotated[bool, Field(description="Sign with ed25519 too.")] = False


class WebhookChange(BaseModel):
    """What `PATCH /webhooks/{id}` takes; absent members stay."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    kinds: Kinds | None = None
    description: Description | None = None
    filter: WebhookFilter | None = None
    schedule: WebhookSchedule | None = None
    timeout_ms: Timeout | None = None
    concurrency: Concurrency | None = None
    rate_per_second: Rate | None = None
    fifo: bool | None = None
    custom_headers: Headers | None = None
    asymmetric: bool | None = None


class BreakerShape(BaseModel):
    """The breaker of an endpoint."""

    state: Literal["closed", "open", "half_open"]
    next_probe: str | None


class WebhookShape(BaseModel):
    """An endpoint; its secret is never shown again."""

    id: UUID
    url: str
    kinds: list[str]
    description: str | None
    filter: WebhookFilter
    schedule: WebhookSchedule
    timeout_ms: int
    concurrency: int
    rate_per_second: float | None
    fifo: bool
    custom_headers: Annotated[bool, Field(description="Whether there are any; they are kept like secrets.")]
    public_key: Annotated[str | None, Field(description="`whpk_…` that verifies `v1a`.")]
    state: Literal["active", "throttled", "paused", "disabled"]
    reason: str | None
    breaker: BreakerShape
    throttled_until: str | None
    failing_since: str | None
    success_share: Annotated[float | None, Field(description="Of the last 200 tries.", ge=0, le=1)]
    p95_ms: Annotated[float | None, Field(description="Of the last 200 tries.")]
    pending: int
    last_error: str | None
    last_success_at: str | None
    last_tried_at: str | None
    previous_secret_until: str | None
    created_by: str
    created_at: str
    updated_at: str


class NewWebhookShape(WebhookShape):
    """An endpoint with its secret, given once."""

    secret: ShownOnce
    warning: str | None = None


class WebhookList(BaseModel):
    """One page of endpoints."""

    data: list[WebhookShape]
    pagination: Pagination


class RotateSecretRequest(BaseModel):
    """How long the secret before the new one signs too."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[int, Field(ge=0, le=604_800)] = 86_400


class AdhocSecretShape(BaseModel):
    """What signs deliveries to URLs that came with calls; it stays until the master key changes."""

    secret: ShownOnce


class SecretShape(BaseModel):
    """A new secret, given once."""

    id: UUID
    secret: ShownOnce
    previous_secret_until: str | None


class TestRequest(BaseModel):
    """Which kind the sample is of."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(max_length=100)] = "webhook.test"


class TestShape(BaseModel):
    """How a sample went."""

    delivered: bool
    status: int | None
    error: str | None
    latency_ms: float
    address: str | None
    response_head: str
    headers_sent: dict[str, str]


def filter_from(wanted: WebhookFilter) -> Filter:
    """Return a filter as it is applied."""
    return Filter(**wanted.model_dump())


def new_endpoint_of(wanted: WebhookRequest) -> NewEndpoint:
    """Return what a request asks to register."""
    return NewEndpoint(
        url=wanted.url,
        kinds=tuple(wanted.kinds),
        description=wanted.description,
        secret=wanted.secret,
        filter=filter_from(wanted.filter),
        preset=wanted.schedule.preset,
        steps=tuple(wanted.schedule.steps_seconds or ()),
        timeout_ms=wanted.timeout_ms,
        concurrency=wanted.concurrency,
        rate_per_second=wanted.rate_per_second,
        fifo=wanted.fifo,
        headers=wanted.custom_headers,
        asymmetric=wanted.asymmetric,
    )


def changes_of(change: WebhookChange) -> dict[str, Any]:
    """Return the members of an endpoint that a request changes; null clears what may be absent."""
    given = {
        name: value
        for name in change.model_fields_set
        if (value := getattr(change, name)) is not None or name in CLEARABLE
    }
    if change.filter is not None:
        given["filter"] = filter_from(change.filter)
    if change.custom_headers is not None:
        given["headers"] = given.pop("custom_headers")
    if change.schedule is not None:
        del given["schedule"]
        given["preset"] = change.schedule.preset
        given["steps"] = list(change.schedule.steps_seconds or PRESETS[change.schedule.preset])
    return given


def test_shape(tried: Tried) -> TestShape:
    """Return the public form of how a sample went."""
    outcome = tried.outcome
    answered = outcome if isinstance(outcome, (Delivered, Rejected)) else None
    return TestShape(
        delivered=isinstance(outcome, Delivered),
        status=answered.status if answered else None,
        error=None if isinstance(outcome, Delivered) else outcome.error,
        latency_ms=round(outcome.latency_ms, 3),
        address=outcome.address,
        response_head=answered.answer.decode("utf-8", "replace") if answered else "",
        headers_sent=tried.headers,
    )


def webhook_shape(endpoint: Endpoint, figures: Figures) -> WebhookShape:
    """Return the public form of an endpoint."""
    breaker = endpoint.breaker or {"state": "closed", "until": None}
    filter_ = endpoint.filter
    return WebhookShape(
        id=endpoint.id,
        url=endpoint.url,
        kinds=list(endpoint.kinds),
        description=endpoint.description,
        filter=WebhookFilter(
            min_severity=filter_.min_severity,
            project_id=filter_.project_id,
            api_key_id=filter_.api_key_id,
            label=filter_.label,
            subject_prefix=filter_.subject_prefix,
            risk_threshold=filter_.risk_threshold,
        ),
        schedule=WebhookSchedule.model_validate(
            {"preset": endpoint.preset}
            | ({"steps_seconds": list(endpoint.steps)} if endpoint.preset == "custom" else {})
        ),
        timeout_ms=endpoint.timeout_ms,
        concurrency=endpoint.concurrency,
        rate_per_second=endpoint.rate_per_second,
        fifo=endpoint.fifo,
        custom_headers=endpoint.headers is not None,
        public_key=endpoint.public_key,
        state=endpoint.state,
        reason=endpoint.reason,
        breaker=BreakerShape(state=breaker["state"], next_probe=breaker["until"]),
        throttled_until=_time(endpoint.resume_at),
        failing_since=_time(endpoint.failing_since),
        success_share=figures.success_share,
        p95_ms=figures.p95_ms,
        pending=figures.pending,
        last_error=endpoint.last_error,
        last_success_at=_time(endpoint.last_success_at),
        last_tried_at=_time(endpoint.last_tried_at),
        previous_secret_until=_time(endpoint.previous_until),
        created_by=endpoint.created_by,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


def _time(instant: Any) -> str | None:
    return None if instant is None else rfc3339(instant)
