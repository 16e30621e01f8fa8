"""Notices about the delivery of notices. None of them goes to the endpoint it is about."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import Field

from guardhouse.notices.kind import NoticeData, Severity

_ENDPOINT: Final = {
    "endpoint_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b12",
    "description": "on-call bot",
}


class _Webhook(NoticeData):
    scope: ClassVar[str] = "webhooks:read"

    endpoint_id: UUID
    description: str | None = None

    @property
    def severity(self) -> Severity:
        """Word that does not arrive matters, without alarm."""
        return Severity.LOW

    @property
    def subject(self) -> str:
        """Return the endpoint."""
        return f"webhook:{self.endpoint_id}"


class WebhookTest(_Webhook):
    """Somebody sent a sample to an endpoint."""

    kind: ClassVar[str] = "webhook.test"
    example: ClassVar[Mapping[str, Any]] = {**_ENDPOINT, "message": "This is a test."}

    message: str

    @property
    def severity(self) -> Severity:
        """Return info: a test is no event."""
        return Severity.INFO


class WebhookThrottled(_Webhook):
    """An endpoint is sent nothing for a while: it asked for a pause, or too much failed."""

    kind: ClassVar[str] = "webhook.endpoint_throttled"
    example: ClassVar[Mapping[str, Any]] = {
        **_ENDPOINT,
        "reason": "retry_after",
        "until": "2026-01-31T12:00:00.000Z",
    }

    reason: Literal["retry_after", "breaker"]
    until: Annotated[str, Field(description="When the next try is due; RFC 3339.")]


class WebhookDisabled(_Webhook):
    """An endpoint is sent nothing any more: it is gone, or nothing has arrived for five days."""

    kind: ClassVar[str] = "webhook.endpoint_disabled"
    example: ClassVar[Mapping[str, Any]] = {**_ENDPOINT, "reason": "gone"}

    reason: Literal["gone", "failing"]

    @property
    def severity(self) -> Severity:
        """Word is lost from here on: high."""
        return Severity.HIGH


class WebhookRecovered(_Webhook):
    """An endpoint that was throttled takes deliveries again."""

    kind: ClassVar[str] = "webhook.endpoint_recovered"
    example: ClassVar[Mapping[str, Any]] = _ENDPOINT


class WebhookExhausted(_Webhook):
    """A delivery used up its tries and is a dead letter now."""

    kind: ClassVar[str] = "webhook.exhausted"
    example: ClassVar[Mapping[str, Any]] = {
        **_ENDPOINT,
        "delivery_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b13",
        "message_id": "msg_0199a3c25b1e7c449d2f4f6f1f2a9b14",
        "message_kind": "risk.band_crossed",
        "tries": 10,
        "error": "HTTP 500",
    }

    delivery_id: UUID
    message_id: str
    message_kind: str
    tries: Annotated[int, Field(ge=1)]
    error: str

    @property
    def severity(self) -> Severity:
        """Return medium: one message waits for a person."""
        return Severity.MEDIUM
