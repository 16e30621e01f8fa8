"""Notices about detection engines elsewhere. Each API process and worker has a breaker of its own per engine."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class BreakerOpened(NoticeData):
    """A process asks a remote engine no more for a while: it failed too often. Texts go the way of the fail mode."""

    kind: ClassVar[str] = "engine.breaker_opened"
    scope: ClassVar[str] = "platform"
    example: ClassVar[Mapping[str, Any]] = {
        "engine": "go",
        "reason": "remote_timeout",
        "probe_at": "2026-01-01T00:01:00.000Z",
    }

    engine: Annotated[str, Field(description="Its name in GUARDHOUSE_DETECT_REMOTES.")]
    reason: Annotated[str, Field(description="What the last failure was.")]
    probe_at: Annotated[str, Field(description="When it is tried again.")]

    @property
    def severity(self) -> Severity:
        """Verdicts are degraded meanwhile."""
        return Severity.HIGH

    @property
    def subject(self) -> str:
        """Return the engine."""
        return f"engine:{self.engine}"


class BreakerClosed(NoticeData):
    """A process asks a remote engine again: two probes were answered."""

    kind: ClassVar[str] = "engine.breaker_closed"
    scope: ClassVar[str] = "platform"
    example: ClassVar[Mapping[str, Any]] = {"engine": "go"}

    engine: str

    @property
    def subject(self) -> str:
        """Return the engine."""
        return f"engine:{self.engine}"
