"""Notices about the rules of process risk."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData


class RuleShadowReady(NoticeData):
    """The shadow of a rule is over: from the next event on its hits count. ``hits`` says how many did not."""

    kind: ClassVar[str] = "rule.shadow_ready"
    scope: ClassVar[str] = "scores:read"
    example: ClassVar[Mapping[str, Any]] = {
        "rule_id": "backup_reads_keys",
        "title": "A backup tool read private keys outside its window",
        "rule_version": 2,
        "hits": 3,
        "began_at": "2026-01-01T09:00:00Z",
        "ended_at": "2026-01-08T09:00:00Z",
    }

    rule_id: str
    title: str
    rule_version: Annotated[int, Field(ge=1)]
    hits: Annotated[int, Field(ge=0, description="Hits on the days of the shadow.")]
    began_at: str
    ended_at: str

    @property
    def subject(self) -> str:
        """Return the rule."""
        return f"rule:{self.rule_id}"
