"""Notices about agents and what they report."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


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


class _Host(NoticeData):
    scope: ClassVar[str] = "agents:read"

    agent_id: str

    @property
    def severity(self) -> Severity:
        """Something goes unseen: medium."""
        return Severity.MEDIUM

    @property
    def subject(self) -> str:
        """Return the agent."""
        return f"agent:{self.agent_id}"


class AgentSilent(_Host):
    """A host agent has not been heard for 20 minutes; said once until it is heard again."""

    kind: ClassVar[str] = "agent.silent"
    example: ClassVar[Mapping[str, Any]] = {"agent_id": "web-1", "last_seen": "2026-01-31T11:40:00.000Z"}

    last_seen: Annotated[str, Field(description="RFC 3339.")]


class AgentLoss(_Host):
    """A host agent lost one percent or more of its events within ten minutes; said at most once an hour."""

    kind: ClassVar[str] = "agent.loss"
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "web-1",
        "lost": 312,
        "received": 20480,
        "window_seconds": 600,
        "at": "2026-01-31T11:40:00.000Z",
    }

    lost: Annotated[int, Field(ge=1)]
    received: Annotated[int, Field(ge=0)]
    window_seconds: Annotated[int, Field(ge=1)]
    at: Annotated[str, Field(description="Event time, RFC 3339.")]
