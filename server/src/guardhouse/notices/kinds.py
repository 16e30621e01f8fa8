"""The kinds of notices: one model per kind and version, with severity, subject, example and who may read it.

A kind is published somewhere or it is not in this list. ``scope`` is what a caller needs to see it;
``live_only`` kinds go to streams and never to webhooks; ``legacy_name`` is what older receivers call it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Severity(StrEnum):
    """How much a notice matters, least first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return 0 for info up to 4 for critical."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}

Band = Literal["low", "medium", "high"]


class NoticeData(BaseModel):
    """What a notice of one kind says. Subclasses name their kind and derive severity and subject."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float")

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    scope: ClassVar[str]
    live_only: ClassVar[bool] = False
    legacy_name: ClassVar[str | None] = None
    example: ClassVar[Mapping[str, Any]]

    @property
    def severity(self) -> Severity:
        """Return how much this notice matters."""
        return Severity.INFO

    @property
    def subject(self) -> str:
        """Return what the notice is about, ``type:id``; notices of one subject keep their order."""
        raise NotImplementedError


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


class TelemetryReceived(NoticeData):
    """An in-app agent reported in: what became of a batch. ``agent_id`` is its installation, or its project."""

    kind: ClassVar[str] = "telemetry.received"
    scope: ClassVar[str] = "events:read"
    live_only: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "web-1",
        "accepted": 480,
        "duplicates": 0,
        "rejected": 0,
    }

    agent_id: str
    accepted: Annotated[int, Field(ge=0)]
    duplicates: Annotated[int, Field(ge=0)] = 0
    rejected: Annotated[int, Field(ge=0)] = 0

    @property
    def subject(self) -> str:
        """Return the agent."""
        return f"agent:{self.agent_id}"


class _Key(NoticeData):
    scope: ClassVar[str] = "keys:read"

    key_id: UUID
    name: str
    actor: Annotated[str, Field(description="Who did it.")]

    @property
    def severity(self) -> Severity:
        """Keys matter to whoever watches access, without alarm."""
        return Severity.LOW

    @property
    def subject(self) -> str:
        """Return the key."""
        return f"key:{self.key_id}"


_KEY_EXAMPLE: Final = {
    "key_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11",
    "name": "ci",
    "actor": "key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
}


class KeyCreated(_Key):
    """An API key was made."""

    kind: ClassVar[str] = "key.created"
    example: ClassVar[Mapping[str, Any]] = {**_KEY_EXAMPLE, "role": "admin"}

    role: str


class KeyRevoked(_Key):
    """An API key was ended for good."""

    kind: ClassVar[str] = "key.revoked"
    example: ClassVar[Mapping[str, Any]] = _KEY_EXAMPLE


KINDS: Final[Mapping[str, type[NoticeData]]] = {
    model.kind: model for model in (RiskBandCrossed, TelemetryReceived, KeyCreated, KeyRevoked)
}
READ_SCOPES: Final = frozenset(model.scope for model in KINDS.values())
