"""Notices about alert channels themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class ChannelSummary(NoticeData):
    """A channel held notices back, and says how many: too many in an hour, in quiet hours, or about one subject."""

    kind: ClassVar[str] = "channel.summary"
    scope: ClassVar[str] = "webhooks:read"
    example: ClassVar[Mapping[str, Any]] = {
        "channel_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b13",
        "held": 41,
        "since": "2026-01-31T22:04:00.000Z",
        "worst": "high",
    }

    channel_id: UUID
    held: Annotated[int, Field(ge=1, description="Notices that were not told one by one.")]
    since: Annotated[str, Field(description="When the first of them happened; RFC 3339.")]
    worst: Severity

    @property
    def severity(self) -> Severity:
        """Return that of the worst notice held back."""
        return self.worst

    @property
    def subject(self) -> str:
        """Return the channel."""
        return f"channel:{self.channel_id}"
