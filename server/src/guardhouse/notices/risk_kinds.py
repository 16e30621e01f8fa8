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

    incident_id: UUID | None
    process_id: str
    tree_id: Annotated[str, Field(description="Process id of the tree's root.")]
    agent_id: str
    risk: Annotated[float, Field(ge=0, le=100)]
    band: Band
    risk_score: Annotated[float, Field(ge=0, le=100)]
    contributions: Annotated[tuple[Contribution, ...], Field(max_length=5)]
    versions: Annotated[dict[str, str | int], Field(description="Engine, rules and profile that scored.")]

    @property
    def severity(self) -> Severity:
        """High band is critical, medium is high, low is info."""
        return _SEVERITY_OF_BAND[self.band]

    @property
    def subject(self) -> str:
        """Return the incident, or the tree while it has none."""
        return f"incident:{self.incident_id}" if self.incident_id else f"process:{self.tree_id}"


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
    "versions": {"engine": 1, "rules": "2026.1", "profile": 17},
}


class RiskBandCrossed(_Risk):
    """The risk of a process tree rose into a higher band, or weighty new evidence came inside a band."""

    kind: ClassVar[str] = "risk.band_crossed"
    example: ClassVar[Mapping[str, Any]] = {**_RISK_EXAMPLE, "previous_band": "medium"}

    previous_band: Band
