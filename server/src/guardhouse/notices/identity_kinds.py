"""Notices about who may enter."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from pydantic import Field

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
