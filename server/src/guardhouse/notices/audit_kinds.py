"""Notices about the audit log itself."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class AuditChainBroken(NoticeData):
    """The audit log is not what was written: rows were changed, taken out or put in behind the product's back."""

    kind: ClassVar[str] = "audit.chain_broken"
    scope: ClassVar[str] = "audit:read"
    example: ClassVar[Mapping[str, Any]] = {"seq": 4711, "fault": "altered", "last_seq": 9000}

    seq: Annotated[int, Field(ge=1, description="The first entry that is wrong.")]
    fault: Annotated[str, Field(description="What is wrong with it, as `GET /audit/verify` names it.")]
    last_seq: Annotated[int, Field(ge=0, description="The last entry that the log should hold.")]

    @property
    def severity(self) -> Severity:
        """Evidence that cannot be trusted is as bad as it gets."""
        return Severity.CRITICAL

    @property
    def subject(self) -> str:
        """Return the log; each tenant has one."""
        return "audit:log"
