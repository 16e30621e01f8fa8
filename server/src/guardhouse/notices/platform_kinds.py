"""Notices about the installation as a whole."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class ModeChanged(NoticeData):
    """The platform's mode was set: everybody is served, some calls are refused, or all."""

    kind: ClassVar[str] = "platform.mode_changed"
    scope: ClassVar[str] = "platform"
    example: ClassVar[Mapping[str, Any]] = {
        "mode": "SAFE_MODE",
        "previous": "NORMAL",
        "reason": "Suspicious top-ups, investigating",
        "until": "2026-01-01T01:00:00.000Z",
        "actor": "key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    }

    mode: Literal["NORMAL", "SAFE_MODE", "HARD_STOP"]
    previous: Literal["NORMAL", "SAFE_MODE", "HARD_STOP"]
    reason: str
    until: Annotated[str | None, Field(description="When it ends by itself.")]
    actor: Annotated[str, Field(description="Who did it.")]

    @property
    def severity(self) -> Severity:
        """A stop is critical, safe mode high, the way back for information."""
        return {"HARD_STOP": Severity.CRITICAL, "SAFE_MODE": Severity.HIGH}.get(self.mode, Severity.INFO)

    @property
    def subject(self) -> str:
        """Return the platform's mode, of which there is one."""
        return "platform:mode"
