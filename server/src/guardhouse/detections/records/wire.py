"""Shapes of recorded detections on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.wire import (
    Channel,
    Decided,
    DetectionContext,
    DetectionThresholds,
    DoubtKind,
    FindingKind,
    OutputAction,
    Score,
    Span,
    ThreatType,
)
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Window


class DetectionQuery(Window):
    """Filters of `GET /detections`."""

    decision: Decided | None = None
    channel: Channel | None = None
    engine: Annotated[str, Field(max_length=64)] | None = None
    degraded: bool | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    policy: UUID | None = None
    key: Annotated[str, Field(max_length=200, description="Id of the key that asked.")] | None = None
    agent_id: Annotated[str, Field(max_length=1024)] | None = None
    session_id: Annotated[str, Field(max_length=1024)] | None = None
    threat_type: ThreatType | None = None


class RecordedReason(BaseModel):
    """A reason as it is kept: where it was, not what stood there."""

    kind: Literal["rule", "ngrams", "list", "canary"]
    view: str
    span: Span
    milli: int
    category: str
    rule: str | None = None
    severity: int | None = None


class RecordedView(BaseModel):
    """A decoded reading as it is kept."""

    id: str
    kind: str
    span: Span
    score: Score


class RecordedInstruction(BaseModel):
    """A stretch that read like an instruction, as it is kept."""

    span: Span
    score: Score


class RecordedFinding(BaseModel):
    """Something in an assistant's message that should not leave, as it is kept."""

    kind: FindingKind
    detector: str
    span: Span
    severity: Annotated[int, Field(ge=1, le=4)]
    action: OutputAction
    canary_id: UUID | None


class RecordedMessage(BaseModel):
    """A message of a conversation as it is kept."""

    index: int | None
    joined: list[int]
    channel: Literal["user", "external", "output"]
    score: Score | None
    decision: Decided
    spans: list[Span]
    findings: list[RecordedFinding]


class RecordedDoubt(BaseModel):
    """Why a tool call was doubted, as it is kept."""

    kind: DoubtKind
    type: str | None


class RecordedToolCall(BaseModel):
    """A tool call as it is kept: none of its arguments."""

    id: str
    name: str
    decision: Decided
    findings: list[RecordedDoubt]


class RecordedDetection(BaseModel):
    """A recorded verdict: the answer of its call without excerpts; `text` only where the policy keeps texts."""

    model_config = ConfigDict(title="RecordedDetection")

    id: UUID
    request_id: str
    status: Literal["completed"]
    is_malicious: bool
    confidence: Score | None
    score: Score | None
    reason: str | None
    threat_types: list[ThreatType]
    decision: Decided
    would_decide: Decided
    thresholds: DetectionThresholds
    channel: Channel
    reasons: list[RecordedReason]
    views: list[RecordedView]
    flags: list[str]
    instructions: list[RecordedInstruction]
    warnings: list[str]
    engine: str
    engine_version: str | None
    tier: str
    verdict_source: Literal["engine", "fallback", "list", "none"]
    degraded: bool
    fallback_reason: str | None
    policy: UUID
    policy_version: int
    cached: bool
    processing_time_ms: int
    processing_time_us: int
    endpoint: str
    context: DetectionContext
    metadata: dict[str, Any]
    created_at: datetime
    key: Annotated[str, Field(description="Who asked, such as `key:` and its id.")]
    text_length: Annotated[int, Field(description="Code points.")]
    text: str | None = None
    message: Annotated[int | None, Field(description="The message that decided.")] = None
    messages: Annotated[list[RecordedMessage] | None, Field(description="Of a conversation.")] = None
    tool_calls: Annotated[list[RecordedToolCall] | None, Field(description="Of a conversation.")] = None


class DetectionList(BaseModel):
    """A page of recorded detections, newest first."""

    data: list[RecordedDetection]
    pagination: Pagination
