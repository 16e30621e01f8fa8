"""Notices about the risk of processes."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.notices.kind import NoticeData, Severity

Band = Literal["low", "medium", "high"]


class Contribution(BaseModel):
    """One reason of a risk: its evidence id, its share in points, and a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    points: float
    why: str


class _Risk(NoticeData):
    scope: ClassVar[str] = "scores:read"

    incident_id: UUID
    process_id: Annotated[str, Field(description="Process whose act it was.")]
    tree_id: Annotated[str, Field(description="Process id of the tree's root.")]
    agent_id: str
    risk: Annotated[float, Field(ge=0, le=100, description="Of the tree.")]
    band: Band
    risk_score: Annotated[float, Field(ge=0, le=100)]
    contributions: Annotated[tuple[Contribution, ...], Field(max_length=5)]
    explanation: Annotated[str, Field(description="Path of the whole story.")]
    versions: Annotated[
        dict[str, str | int | None], Field(description="Engine, rules and profile that scored.")
    ]

    @property
    def severity(self) -> Severity:
        """High band is critical, medium is high, low is info."""
        return _SEVERITY_OF_BAND[self.band]

    @property
    def subject(self) -> str:
        """Return the incident."""
        return f"incident:{self.incident_id}"


_SEVERITY_OF_BAND: Final = {"low": Severity.INFO, "medium": Severity.HIGH, "high": Severity.CRITICAL}
_RISK_EXAMPLE: Final = {
    "incident_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    "process_id": "web-1:4711:19cqp",
    "tree_id": "web-1:4700:19cpz",
    "agent_id": "web-1",
    "risk": 91.42,
    "band": "high",
    "risk_score": 62.5,
    "contributions": [
        {"id": "rule.shell_on_socket", "points": 56.02, "why": "socket on fd 0,1,2, then /bin/sh started"}
    ],
    "explanation": "/api/v1/risk/incidents/0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    "versions": {"engine": 1, "rules": "2026.1", "profile": 17},
}


class RiskBandCrossed(_Risk):
    """The risk of a process tree rose into a higher band, or weighty new evidence came inside a band."""

    kind: ClassVar[str] = "risk.band_crossed"
    example: ClassVar[Mapping[str, Any]] = {**_RISK_EXAMPLE, "previous_band": "medium"}

    previous_band: Band


class RiskUpdated(_Risk):
    """An incident goes on: its tree got evidence; said at most once per tree and second of event time."""

    kind: ClassVar[str] = "risk.updated"
    live_only: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = _RISK_EXAMPLE


class RiskIncidentClosed(NoticeData):
    """An incident is over: the tree was quiet for ten minutes, or a person closed it. Said once."""

    kind: ClassVar[str] = "risk.incident_closed"
    scope: ClassVar[str] = "scores:read"
    example: ClassVar[Mapping[str, Any]] = {
        "incident_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
        "tree_id": "web-1:4700:19cpz",
        "agent_id": "web-1",
        "peak_risk": 91.42,
        "peak_band": "high",
        "opened_at": "2026-01-01T00:00:04.512Z",
        "closed_at": "2026-01-01T01:10:00.000Z",
        "closed_by": "quiet",
        "reason": None,
        "explanation": "/api/v1/risk/incidents/0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    }

    incident_id: UUID
    tree_id: Annotated[str, Field(description="Process id of the tree's root.")]
    agent_id: str
    peak_risk: Annotated[float, Field(ge=0, le=100)]
    peak_band: Band
    opened_at: Annotated[str, Field(description="Event time, RFC 3339.")]
    closed_at: Annotated[
        str, Field(description="Event time when it was quiet; else when the person closed it.")
    ]
    closed_by: Annotated[str, Field(description="`quiet`, or who closed it.")]
    reason: Annotated[str, Field(max_length=1000)] | None = None
    explanation: Annotated[str, Field(description="Path of the whole story.")]

    @property
    def severity(self) -> Severity:
        """Return that of the worst band: whoever was told of the beginning is told of the end."""
        return _SEVERITY_OF_BAND[self.peak_band]

    @property
    def subject(self) -> str:
        """Return the incident."""
        return f"incident:{self.incident_id}"


class RiskThresholdCrossed(NoticeData):
    """The older score of a process reached a threshold that a receiver chose; once until it is ten below."""

    kind: ClassVar[str] = "risk_threshold_crossed"
    scope: ClassVar[str] = "scores:read"
    legacy_name: ClassVar[str | None] = "risk_threshold_crossed"
    by_name_only: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {
        "process_id": "web-1:4711:19cqp",
        "agent_id": "web-1",
        "risk_score": 81.5,
        "threshold": 70,
        "crossed_at": "2026-01-01T00:00:04.512Z",
    }

    process_id: str
    agent_id: str
    risk_score: Annotated[float, Field(ge=0, le=100)]
    threshold: Annotated[int, Field(ge=1, le=100)]
    crossed_at: Annotated[str, Field(description="Event time, RFC 3339.")]

    @property
    def severity(self) -> Severity:
        """A mean over recent calls is a hint."""
        return Severity.MEDIUM

    @property
    def subject(self) -> str:
        """Return the process."""
        return f"process:{self.process_id}"
