"""What an anomaly is: which events, how unusual, what shows it, what was decided, what people made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from guardhouse.anomalies.stream import StreamType

Kind = Literal["event", "record", "session", "series", "window", "drift", "external"]
Status = Literal["pending", "acknowledged", "investigating", "dismissed"]
SeverityName = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[SeverityName, ...]] = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomaly. ``timestamp`` is the time of its last event; ``figures`` are None where there is no glass box."""

    id: UUID
    timestamp: datetime
    stream_no: int
    stream_id: UUID
    stream_type: StreamType
    kind: Kind
    status: Status
    severity: SeverityName
    first_seq: int
    last_seq: int
    signature: str
    p_value: float
    significant: bool
    alerted: bool
    ncd_score: float | None
    explanation_text: str
    details_text: str
    entity: str
    score: Mapping[str, Any]
    glass_box: Mapping[str, Any]
    decision: Mapping[str, Any]
    explanation: Mapping[str, Any]
    versions: Mapping[str, Any]
    tags: tuple[str, ...]
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    dismissed_by: str | None
    dismissed_at: datetime | None
    notes: str | None
    created_at: datetime
    updated_at: datetime
    version: int
