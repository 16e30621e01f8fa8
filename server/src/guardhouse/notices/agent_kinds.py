"""Notices about agents and what they report."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData


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
