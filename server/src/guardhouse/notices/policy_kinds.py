"""Notices about policies that ban by themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class _Policy(NoticeData):
    scope: ClassVar[str] = "projects:read"

    project_id: UUID
    policy_id: UUID
    policy: Annotated[str, Field(description="Its name.")]

    @property
    def subject(self) -> str:
        """Return the policy."""
        return f"rule_policy:{self.policy_id}"


class RulesProposed(_Policy):
    """A policy proposes a ban: `POST /projects/{project_id}/rule-actions/{action_id}:accept` puts it into force."""

    kind: ClassVar[str] = "rules.proposed"
    example: ClassVar[Mapping[str, Any]] = {
        "project_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b15",
        "policy_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b17",
        "policy": "scanners",
        "action_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b18",
        "net": "203.0.113.7",
        "for_seconds": 900,
        "reason": "score 666, at least 600",
        "event_ids": ["0199a3c25b1e7c449d2f4f6f1f2a9b16"],
        "expires_at": "2026-01-31T12:00:00.000Z",
    }

    action_id: UUID
    net: str
    for_seconds: Annotated[int, Field(ge=1)]
    reason: str
    event_ids: Annotated[tuple[str, ...], Field(max_length=10)]
    expires_at: Annotated[str, Field(description="RFC 3339; after it the proposal cannot be accepted.")]

    @property
    def severity(self) -> Severity:
        """Somebody is asked: medium."""
        return Severity.MEDIUM


class RulesPolicyPaused(_Policy):
    """A policy hit a brake and does nothing until somebody enables it again."""

    kind: ClassVar[str] = "rules.policy_paused"
    example: ClassVar[Mapping[str, Any]] = {
        "project_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b15",
        "policy_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b17",
        "policy": "scanners",
        "brake": "max_per_hour",
        "limit": 20,
    }

    brake: Literal["max_per_hour", "active_bans"]
    limit: Annotated[int, Field(ge=1)]

    @property
    def severity(self) -> Severity:
        """Protection stands still: high."""
        return Severity.HIGH
