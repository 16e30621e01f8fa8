"""Notices about streams and what was found in them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class _Stream(NoticeData):
    scope: ClassVar[str] = "anomalies:read"

    stream_id: UUID
    stream: Annotated[str, Field(description="Its slug.")]
    stream_type: str


class AnomalyDetected(_Stream):
    """Something in a stream does not belong: `GET /anomalies/{anomaly_id}` shows all of it."""

    kind: ClassVar[str] = "anomaly.detected"
    example: ClassVar[Mapping[str, Any]] = {
        "stream_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b21",
        "stream": "logs.auth",
        "stream_type": "logs",
        "anomaly_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b22",
        "anomaly_kind": "event",
        "band": "high",
        "p_value": 2.1e-7,
        "timestamp": "2026-01-31T12:00:00.000Z",
        "entity": "host-12",
        "explanation": "`logs.auth` wrote a line 151 bits longer to describe than usual (chance 2 in 10 million).",
    }

    anomaly_id: UUID
    anomaly_kind: str
    band: Literal["low", "medium", "high", "critical"]
    p_value: Annotated[float, Field(ge=0, le=1)]
    timestamp: Annotated[str, Field(description="RFC 3339; when the event itself says it happened.")]
    entity: str
    explanation: str

    @property
    def severity(self) -> Severity:
        """As severe as the anomaly."""
        return Severity(self.band)

    @property
    def subject(self) -> str:
        """Return the anomaly."""
        return f"anomaly:{self.anomaly_id}"


class StreamReady(_Stream):
    """A stream has learned what is usual; from now on its events are judged."""

    kind: ClassVar[str] = "stream.ready"
    example: ClassVar[Mapping[str, Any]] = {
        "stream_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b21",
        "stream": "logs.auth",
        "stream_type": "logs",
        "events": 400,
        "outliers": 3,
    }

    events: Annotated[int, Field(ge=0)]
    outliers: Annotated[int, Field(ge=0, description="Events that were set aside, to be looked at.")]

    @property
    def subject(self) -> str:
        """Return the stream."""
        return f"stream:{self.stream_id}"
