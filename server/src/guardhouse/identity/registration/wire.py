"""Shapes of invitations, and of registration in its older form, which ignores members it does not know."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.registration.invites import INVITED_ROLE, INVITED_SCOPES
from guardhouse.identity.registration.store import Invite
from guardhouse.identity.store import ApiKey
from guardhouse.identity.wire import GraceSeconds, KeyName, LifeDays, PerDay, PerMinute, Scopes

InviteRole = Literal["viewer", "analyst", "admin", "agent", "billing"]


class RegisterRequest(BaseModel):
    """What `POST /auth/register` takes."""

    model_config = ConfigDict(extra="ignore")

    name: KeyName
    rate_limit_per_minute: PerMinute = 60
    rate_limit_per_day: PerDay = 10_000
    expires_in_days: LifeDays | None = None
    invite_code: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class RotateOwnRequest(BaseModel):
    """What `POST /auth/rotate-key` takes."""

    model_config = ConfigDict(extra="ignore")

    grace_seconds: GraceSeconds = 0


class RegisteredShape(BaseModel):
    """A new key with its text, given once."""

    api_key: ShownOnce
    key_id: UUID
    name: str
    rate_limit_per_minute: int | None
    rate_limit_per_day: int | None
    created_at: str
    expires_at: str | None


class RevokedKeyShape(BaseModel):
    """The end of the calling key."""

    message: str
    key_id: UUID
    revoked_at: str


class InviteRequest(BaseModel):
    """What `POST /invites` takes."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(min_length=1, max_length=200, examples=["for the data team"])] | None = None
    role: InviteRole = INVITED_ROLE
    scopes: Annotated[
        Scopes | None,
        Field(description="What the registered keys may do; absent: all of the role, of `agent` a few."),
    ] = None
    max_uses: Annotated[int, Field(ge=1, le=1000)] = 1
    expires_in_days: Annotated[int, Field(ge=1, le=90)] = 7


class InviteShape(BaseModel):
    """An invitation without its code."""

    id: UUID
    note: str | None
    role: str
    scopes: list[str]
    uses: int
    max_uses: int
    expires_at: str
    revoked_at: str | None
    created_at: str
    created_by: str


class NewInviteShape(InviteShape):
    """An invitation with its code, given once."""

    code: str


class InviteList(BaseModel):
    """One page of invitations."""

    data: list[InviteShape]
    pagination: Pagination


def registered_shape(key: ApiKey, text: str) -> RegisteredShape:
    """Return the older form of a new key."""
    return RegisteredShape(
        api_key=text,
        key_id=key.id,
        name=key.name,
        rate_limit_per_minute=key.rate_limit_per_minute,
        rate_limit_per_day=key.rate_limit_per_day,
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at) if key.expires_at else None,
    )


def invite_shape(invite: Invite) -> InviteShape:
    """Return the public form of an invitation."""
    return InviteShape(
        id=invite.id,
        note=invite.note,
        role=invite.role,
        scopes=list(invite.scopes),
        uses=invite.uses,
        max_uses=invite.max_uses,
        expires_at=rfc3339(invite.expires_at),
        revoked_at=rfc3339(invite.revoked_at) if invite.revoked_at else None,
        created_at=rfc3339(invite.created_at),
        created_by=invite.created_by,
    )


def asked_scopes(wanted: InviteRequest) -> tuple[str, ...] | None:
    """Return the scopes of an invitation: those named, the few usual ones, or all of another role."""
    if wanted.scopes is not None:
        return tuple(wanted.scopes)
    return INVITED_SCOPES if wanted.role == INVITED_ROLE else None
