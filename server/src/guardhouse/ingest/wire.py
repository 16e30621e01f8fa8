"""Shapes of the telemetry door on the wire: what the OpenAPI document says of bodies that are read leniently."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

_LENIENT = ConfigDict(extra="allow")


class AppEvent(BaseModel):
    """A security event of an in-app agent. No member is required; others are kept too."""

    model_config = _LENIENT

    idempotency_key: Annotated[str, Field(max_length=128, description="Same key = same event.")] | None = None
    timestamp: Annotated[
        str | float, Field(description="ISO 8601, naive = UTC, or an epoch in s, ms or µs.")
    ] = ""
    event_type: Annotated[str, Field(max_length=64, examples=["penetration_attempt"])] = "unknown"
    ip_address: str | None = None
    country: str | None = None
    user_agent: str | None = None
    action_taken: str | None = None
    reason: str | None = None
    endpoint: str | None = None
    method: str | None = None
    status_code: int | None = None
    response_time: float | None = None
    decorator_type: str | None = None
    rule_type: str | None = None
    pattern_matched: str | None = None
    handler_name: str | None = None
    metadata: dict[str, Any] = {}


class AppMetric(BaseModel):
    """One measured value of an in-app agent."""

    model_config = _LENIENT

    timestamp: str | float = ""
    metric_type: Annotated[str, Field(max_length=64, examples=["request_count"])] = "unknown"
    value: Annotated[float, Field(description="Finite; a metric without it is rejected.")]
    endpoint: str | None = None
    tags: dict[str, str] = {}
    idempotency_key: str | None = None


class AppBatch(BaseModel):
    """A batch of an in-app agent."""

    model_config = _LENIENT

    batch_id: Annotated[str, Field(max_length=128, examples=["1795304486234-7c48ac5b"])] | None = None
    project_id: Annotated[str, Field(description="Counts only without X-Project-ID.")] | None = None
    events: list[AppEvent] = []
    metrics: list[AppMetric] = []
    created_at: str | None = None
    compressed: bool = False
    agent_version: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None


class HostEvent(BaseModel):
    """One event of a host agent: `pid` and `syscall` are enough, every other member makes scores better."""

    model_config = _LENIENT

    kind: Literal["call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"] = "call"
    pid: Annotated[int, Field(ge=0, le=4_194_304)] | None = None
    syscall: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$", examples=["execve"])] | None = None
    seq: int | None = None
    id: Annotated[str, Field(max_length=64)] | None = None
    timestamp: (
        Annotated[str | int, Field(description="RFC 3339 with zone, or ns since the epoch.")] | None
    ) = None
    start: Annotated[int, Field(ge=0, description="Process start, constant for one process.")] | None = None
    ppid: int | None = None
    parent_start: (
        Annotated[int, Field(ge=0, description="Start of the parent, where it is known.")] | None
    ) = None
    tid: int | None = None
    exe: str | None = None
    args: dict[str, Any] = {}
    ret: int | None = None
    errno: str | None = None
    metadata: dict[str, Any] = {}


class HostBatch(BaseModel):
    """A batch of a host agent."""

    model_config = _LENIENT

    agent_id: (
        Annotated[str, Field(description="Needed with an API key; a signature names the agent.")] | None
    ) = None
    stream: str | None = None
    boot_id: str | None = None
    alphabet: str | None = None
    idempotency_key: (
        Annotated[str, Field(pattern="^[ -~]{1,255}$", description="Instead of the header.")] | None
    ) = None
    events: Annotated[list[HostEvent], Field(min_length=1, max_length=10_000)]


class ToolEvent(BaseModel):
    """One event or alert of Falco, Tetragon or Tracee, in the tool's own words."""

    model_config = _LENIENT


class RejectionShape(BaseModel):
    """An item that is in quarantine; `index` counts the items received, events first, then metrics."""

    index: int
    key: str | None
    code: Literal["not_an_object", "item_too_large", "item_unreadable", "no_value", "wrong_family"]
    detail: str


class AppAnswerShape(BaseModel):
    """What became of an app batch; the five counts add up to the items received."""

    success: Literal[True]
    batch_id: str | None
    accepted: Annotated[int, Field(description="Rows stored.")]
    duplicates: Annotated[int, Field(description="Items that were received before.")]
    rejected: Annotated[int, Field(description="Items in quarantine.")]
    held: Annotated[int, Field(description="Sealed envelopes that no key opens yet.")]
    rolled_up: Annotated[int, Field(description="Noise kept as counts.")]
    rejections: Annotated[list[RejectionShape], Field(max_length=100)]
    server_time: str
    rules_revision: int


class HostItemError(BaseModel):
    """Why one item was not taken."""

    code: str
    field: str | None = None
    detail: str


class HostResult(BaseModel):
    """What became of one event of a host batch."""

    index: int
    id: str | None
    status: Literal["accepted", "duplicate", "error"]
    error: HostItemError | None


class HostAnswerShape(BaseModel):
    """What became of a host batch, item by item."""

    accepted: int
    duplicates: int
    errors: int
    position: int
    results: list[HostResult]


class Rejection(msgspec.Struct, gc=False):
    """One entry of ``rejections`` as sent."""

    index: int
    key: str | None
    code: str
    detail: str


class AppAnswer(msgspec.Struct, gc=False, kw_only=True):
    """The answer to an app batch as sent: never empty, never with a member named ``errors``."""

    success: bool = True
    batch_id: str | None
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    held: int = 0
    rolled_up: int = 0
    rejections: list[Rejection] = []
    server_time: str
    rules_revision: int = 0
