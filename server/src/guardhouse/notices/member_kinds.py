"""Notices about people."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class MemberChanged(NoticeData):
    """A person joined, left, or may now do more or less than before."""

    kind: ClassVar[str] = "member.changed"
    scope: ClassVar[str] = "members:read"
    example: ClassVar[Mapping[str, Any]] = {
        "member_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11",
        "change": "updated",
        "role": "analyst",
        "state": "active",
        "actor": "user:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    }

    member_id: UUID
    change: Literal["joined", "updated", "removed"]
    role: str
    state: str
    actor: Annotated[str, Field(description="Who did it; the member itself at sign-in.")]

    @property
    def severity(self) -> Severity:
        """People matter to whoever watches access, without alarm."""
        return Severity.LOW

    @property
    def subject(self) -> str:
        """Return the member."""
        return f"member:{self.member_id}"
