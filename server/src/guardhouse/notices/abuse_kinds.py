"""Notices about addresses that misbehave, and about what in-app agents say of their own protection."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity

AddressBand = Literal["none", "medium", "high", "critical"]
_SEVERITY: Final = {
    "none": Severity.INFO,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
_RANK: Final = {band: rank for rank, band in enumerate(_SEVERITY)}


class IpScoreCrossed(NoticeData):
    """The abuse score of an address crossed a band, up or down; a band is left 50 points below its threshold."""

    kind: ClassVar[str] = "ip.score_crossed"
    scope: ClassVar[str] = "events:read"
    example: ClassVar[Mapping[str, Any]] = {
        "project_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b15",
        "address": "203.0.113.7",
        "score": 666,
        "band": "high",
        "before": "medium",
        "event_ids": ["0199a3c25b1e7c449d2f4f6f1f2a9b16"],
    }

    project_id: UUID
    address: Annotated[
        str, Field(description="IPv4, the first of an IPv6 /64, or the hash that the app sends.")
    ]
    score: Annotated[int, Field(ge=0, lt=1000)]
    band: AddressBand
    before: AddressBand
    event_ids: Annotated[
        tuple[str, ...], Field(max_length=5, description="Some of the events that count.")
    ] = ()

    @property
    def severity(self) -> Severity:
        """Upwards as the band is; downwards nobody has to act."""
        return _SEVERITY[self.band] if _RANK[self.band] > _RANK[self.before] else Severity.INFO

    @property
    def subject(self) -> str:
        """Return the address in its project."""
        return f"address:{self.project_id}/{self.address}"


class AgentAlert(NoticeData):
    """An app says that its protection was bypassed, could not ban, or went into its emergency mode."""

    kind: ClassVar[str] = "agent.alert"
    scope: ClassVar[str] = "events:read"
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "web-1",
        "project_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b15",
        "event_type": "security_bypass",
        "count": 1,
        "event_ids": ["0199a3c25b1e7c449d2f4f6f1f2a9b16"],
    }

    agent_id: Annotated[str, Field(description="Its installation, or its project.")]
    project_id: UUID
    event_type: Literal["security_bypass", "ip_ban_failed", "emergency_mode_activated"]
    count: Annotated[int, Field(ge=1, description="Events of this type in one batch.")]
    event_ids: Annotated[tuple[str, ...], Field(max_length=5)]

    @property
    def severity(self) -> Severity:
        """Somebody should look: high."""
        return Severity.HIGH

    @property
    def subject(self) -> str:
        """Return the agent."""
        return f"agent:{self.agent_id}"
