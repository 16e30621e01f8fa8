"""Notices about who may enter."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from pydantic import AwareDatetime, Field

from guardhouse.notices.kind import NoticeData, Severity


class _Key(NoticeData):
    scope: ClassVar[str] = "keys:read"

    key_id: UUID
    name: str
    actor: Annotated[str, Field(description="Who did it.")]

    @property
    def severity(self) -> Severity:
        """Keys matter to whoever watches access, without alarm."""
        return Severity.LOW

    @property
    def subject(self) -> str:
        """Return the key."""
        return f"key:{self.key_id}"


_KEY_EXAMPLE: Final = {
    "key_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11",
    "name": "ci",
    "actor": "key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
}


class KeyCreated(_Key):
    """An API key was made."""

    kind: ClassVar[str] = "key.created"
    example: ClassVar[Mapping[str, Any]] = {**_KEY_EXAMPLE, "role": "admin"}

    role: str


class KeyRevoked(_Key):
    """An API key was ended for good."""

    kind: ClassVar[str] = "key.revoked"
    example: ClassVar[Mapping[str, Any]] = _KEY_EXAMPLE


class KeyRotated(_Key):
    """An API key was replaced by another; it works until ``rotates_until``."""

    kind: ClassVar[str] = "key.rotated"
    example: ClassVar[Mapping[str, Any]] = {
        **_KEY_EXAMPLE,
        "replaced_by": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b12",
        "rotates_until": "2026-01-01T00:00:00Z",
    }

    replaced_by: UUID
    rotates_until: AwareDatetime


class KeyExpiring(_Key):
    """An API key ends within seven days."""

    kind: ClassVar[str] = "key.expiring"
    example: ClassVar[Mapping[str, Any]] = {
        **_KEY_EXAMPLE,
        "actor": "system:clock",
        "expires_at": "2026-01-08T00:00:00Z",
    }

    expires_at: AwareDatetime

    @property
    def severity(self) -> Severity:
        """Whoever uses the key has a week to act."""
        return Severity.MEDIUM


class KeyExposed(_Key):
    """An API key stood in a URL, where proxies and logs keep it. Rotate it."""

    kind: ClassVar[str] = "key.exposed"
    example: ClassVar[Mapping[str, Any]] = {**_KEY_EXAMPLE, "actor": "203.0.113.9", "place": "url"}

    place: Annotated[str, Field(description="Where the key was seen: `url`.")]

    @property
    def severity(self) -> Severity:
        """Anybody may hold the key now."""
        return Severity.HIGH
