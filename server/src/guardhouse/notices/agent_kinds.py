"""Notices about agents and what they report."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class TelemetryReceived(NoticeData):
    """An in-app agent reported in: what became of a batch. ``agent_id`` is its installation."""

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


class AgentUndecryptable(NoticeData):
    """A sealed envelope came that no key of its project opens; said when the first one is held."""

    kind: ClassVar[str] = "agent.undecryptable"
    scope: ClassVar[str] = "projects:read"
    example: ClassVar[Mapping[str, Any]] = {
        "project_id": "01990000-0000-7000-8000-000000000000",
        "project": "shop",
    }

    project_id: UUID
    project: Annotated[str, Field(description="Its slug.")]

    @property
    def severity(self) -> Severity:
        """Nothing is lost for a week: medium."""
        return Severity.MEDIUM

    @property
    def subject(self) -> str:
        """Return the project."""
        return f"project:{self.project_id}"


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
    """An agent is not heard any more; said once until it is heard again.

    A host agent after 20 minutes; a process with an in-app agent after four of its intervals, and then
    ``instance_id`` names it and ``agent_id`` its installation.
    """

    kind: ClassVar[str] = "agent.silent"
    example: ClassVar[Mapping[str, Any]] = {"agent_id": "web-1", "last_seen": "2026-01-31T11:40:00.000Z"}

    last_seen: Annotated[str, Field(description="RFC 3339.")]
    instance_id: Annotated[str | None, Field(description="The process, of an in-app agent.")] = None

    @property
    def subject(self) -> str:
        """Return the agent, or the process where there can be many."""
        return super().subject if self.instance_id is None else f"instance:{self.instance_id}"


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


class _InApp(NoticeData):
    scope: ClassVar[str] = "agents:read"

    agent_id: Annotated[str, Field(description="The installation of the in-app agent.")]
    instance_id: Annotated[str, Field(description="The process.")]

    @property
    def subject(self) -> str:
        """Return the process."""
        return f"instance:{self.instance_id}"


class AgentDegraded(_InApp):
    """A process with an in-app agent reports that something is wrong with its delivery."""

    kind: ClassVar[str] = "agent.degraded"
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "fcb99e91-a3aa-4001-af1d-9b35c88058a6",
        "instance_id": "0199c0de-0000-7000-8000-000000000001",
        "reported": "degraded",
        "at": "2026-01-31T11:40:00.000Z",
    }

    reported: Annotated[str, Field(description="The state in the agent's own words.")]
    at: Annotated[str, Field(description="RFC 3339.")]

    @property
    def severity(self) -> Severity:
        """It still reports: low."""
        return Severity.LOW


class AgentRecovered(_InApp):
    """A process with an in-app agent that was silent or degraded is healthy again."""

    kind: ClassVar[str] = "agent.recovered"
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "fcb99e91-a3aa-4001-af1d-9b35c88058a6",
        "instance_id": "0199c0de-0000-7000-8000-000000000001",
        "was": "silent",
        "at": "2026-01-31T11:40:00.000Z",
    }

    was: Annotated[Literal["silent", "degraded"], Field(description="What was told before.")]
    at: Annotated[str, Field(description="RFC 3339.")]


class AgentUnaccounted(_InApp):
    """For ten minutes, items that an agent captured have been neither stored nor reported as lost or waiting."""

    kind: ClassVar[str] = "agent.unaccounted"
    example: ClassVar[Mapping[str, Any]] = {
        "agent_id": "fcb99e91-a3aa-4001-af1d-9b35c88058a6",
        "instance_id": "0199c0de-0000-7000-8000-000000000001",
        "items": 12,
        "since": "2026-01-31T11:30:00.000Z",
    }

    items: Annotated[int, Field(ge=1, description="Items too few or too many, both lanes together.")]
    since: Annotated[str, Field(description="RFC 3339.")]

    @property
    def severity(self) -> Severity:
        """Something may be lost: high."""
        return Severity.HIGH
