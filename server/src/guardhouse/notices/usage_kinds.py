"""Notices about limits and quotas."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity


class _Limit(NoticeData):
    scope: ClassVar[str] = "usage:read"

    limited: Annotated[str, Field(description="Whose limit it is: `key:…`, `client:…` or `tenant:…`.")]
    policy: Annotated[str, Field(description="Name of the limit, as in RateLimit-Policy.")]
    limit: Annotated[int, Field(ge=1)]
    window_seconds: Annotated[int, Field(ge=1)]

    @property
    def subject(self) -> str:
        """Return the usage of whose limit it is: a line of its own beside what happens to a key."""
        return f"usage:{self.limited}"


_EXAMPLE: Final = {
    "limited": "key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11",
    "policy": "day",
    "limit": 10000,
    "window_seconds": 86400,
}


class RateLimitReached(_Limit):
    """Calls are being refused; said once per subject and five minutes."""

    kind: ClassVar[str] = "rate_limit.exceeded"
    legacy_name: ClassVar[str | None] = "rate_limit_exceeded"
    example: ClassVar[Mapping[str, Any]] = {**_EXAMPLE, "retry_after_seconds": 31}

    retry_after_seconds: Annotated[int, Field(ge=1)]

    @property
    def severity(self) -> Severity:
        """Somebody is being refused."""
        return Severity.MEDIUM


class UsageThreshold(_Limit):
    """80 or 95 percent of a day's calls are used; each said once per subject and day."""

    kind: ClassVar[str] = "usage.threshold"
    example: ClassVar[Mapping[str, Any]] = {**_EXAMPLE, "percent": 80, "used": 8000}

    percent: Literal[80, 95]
    used: Annotated[int, Field(ge=0)]

    @property
    def severity(self) -> Severity:
        """The last warning weighs more."""
        return Severity.MEDIUM if self.percent == 95 else Severity.LOW  # noqa: PLR2004 - one of the two
