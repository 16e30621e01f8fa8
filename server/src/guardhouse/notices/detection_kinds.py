"""Notices about prompts and documents that were judged. None of them holds the text."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity

Decided = Literal["allow", "review", "block"]
MOST_LISTED: Final = 20  # reasons and instructions of a notice; `GET /detect/{id}` has all


class _Detection(NoticeData):
    scope: ClassVar[str] = "detect:read"

    id: UUID
    request_id: str

    @property
    def subject(self) -> str:
        """Return the detection."""
        return f"detection:{self.id}"


class _Judged(_Detection):
    status: Literal["completed"] = "completed"
    is_malicious: bool
    confidence: Annotated[float | None, Field(ge=0, le=1)]
    score: Annotated[float | None, Field(ge=0, le=1)]
    reason: str | None
    threat_types: list[str]
    decision: Decided
    would_decide: Annotated[Decided, Field(description="The real decision of a policy in the shadow.")]
    thresholds: dict[str, float | str]
    channel: str
    reasons: Annotated[list[dict[str, Any]], Field(max_length=MOST_LISTED)]
    views: list[dict[str, Any]]
    flags: list[str]
    instructions: Annotated[list[dict[str, Any]], Field(max_length=MOST_LISTED)]
    warnings: list[str]
    engine: str
    engine_version: str | None
    tier: str
    verdict_source: str
    degraded: bool
    fallback_reason: str | None
    policy: UUID
    policy_version: int
    cached: bool
    processing_time_ms: int
    processing_time_us: int
    endpoint: str
    context: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    key: str
    text_length: int

    @property
    def severity(self) -> Severity:
        """A block matters more than a review; what is told in the shadow is a hint."""
        if self.decision != self.would_decide:
            return Severity.LOW
        return _SEVERITY_OF[self.decision]


_SEVERITY_OF: Final = {"block": Severity.HIGH, "review": Severity.MEDIUM, "allow": Severity.INFO}
_ID: Final = "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b21"
_EXAMPLE: Final = {
    "id": _ID,
    "request_id": _ID,
    "status": "completed",
    "is_malicious": True,
    "confidence": 0.973,
    "score": 0.973,
    "reason": "Asks to discard earlier instructions.",
    "threat_types": ["injection"],
    "decision": "block",
    "would_decide": "block",
    "thresholds": {"review": 0.3, "block": 0.5, "operating_point": "balanced"},
    "channel": "user",
    "reasons": [
        {
            "kind": "rule",
            "view": "v0",
            "span": [0, 32],
            "milli": 2000,
            "category": "injection",
            "rule": "PI-001@1",
        }
    ],
    "views": [],
    "flags": [],
    "instructions": [],
    "warnings": [],
    "engine": "embedded",
    "engine_version": "fast-1.0.0+3f9c2ab41d07",
    "tier": "fast",
    "verdict_source": "engine",
    "degraded": False,
    "fallback_reason": None,
    "policy": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b22",
    "policy_version": 1,
    "cached": False,
    "processing_time_ms": 1,
    "processing_time_us": 412,
    "endpoint": "embedded/fast",
    "context": {"agent_id": "support-bot"},
    "metadata": {"user_id": "123"},
    "created_at": "2026-01-31T12:00:00.000Z",
    "key": "key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11",
    "text_length": 63,
}


class DetectionCompleted(_Judged):
    """An asynchronous call, or one that named a `webhook_url`, has its verdict."""

    kind: ClassVar[str] = "detection.completed"
    legacy_name: ClassVar[str | None] = "detection_complete"
    example: ClassVar[Mapping[str, Any]] = _EXAMPLE


class DetectionFlagged(_Judged):
    """A text ended in review or block, or would have if its policy were not in the shadow."""

    kind: ClassVar[str] = "detection.flagged"
    example: ClassVar[Mapping[str, Any]] = _EXAMPLE


class DetectionFailed(_Detection):
    """An asynchronous call was given up; nothing is invented in place of its verdict."""

    kind: ClassVar[str] = "detection.failed"
    legacy_name: ClassVar[str | None] = "detection_failed"
    example: ClassVar[Mapping[str, Any]] = {
        "id": _ID,
        "request_id": _ID,
        "status": "failed",
        "error": {"code": "engine_failed", "status": 503, "title": "The detection engine failed"},
        "context": {},
        "metadata": {"user_id": "123"},
        "created_at": "2026-01-31T12:00:00.000Z",
    }

    status: Literal["failed"] = "failed"
    error: dict[str, Any]
    context: dict[str, str]
    metadata: dict[str, Any]
    created_at: str

    @property
    def severity(self) -> Severity:
        """Somebody waits for a verdict that does not come."""
        return Severity.MEDIUM


class DetectionBatchCompleted(_Detection):
    """Every item of a batch has its verdict or its error; the items are at the batch itself."""

    kind: ClassVar[str] = "detection.batch_completed"
    legacy_name: ClassVar[str | None] = "batch_complete"
    example: ClassVar[Mapping[str, Any]] = {
        "id": _ID,
        "request_id": _ID,
        "status": "completed",
        "total": 100,
        "successful_count": 99,
        "failed_count": 1,
        "created_at": "2026-01-31T12:00:00.000Z",
    }

    status: Literal["completed"] = "completed"
    total: int
    successful_count: int
    failed_count: int
    created_at: str

    @property
    def subject(self) -> str:
        """Return the batch."""
        return f"detection_batch:{self.id}"
