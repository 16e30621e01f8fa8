"""Shapes of members on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.people.store import Member

MemberRole = Literal["viewer", "analyst", "admin", "billing"]
MemberState = Literal["active", "suspended"]


class MemberPatch(BaseModel):
    """What `PATCH /members/{member_id}` takes; what is absent stays. The issuer's map sets the role anew at sign-in."""

    model_config = ConfigDict(extra="forbid", title="MemberPatch")

    role: MemberRole | None = None
    state: MemberState | None = None


class MemberShape(BaseModel):
    """A person of the tenant. `version` is the ETag's."""

    id: UUID
    issuer: Annotated[str, Field(description="Who vouches for this person.")]
    subject: Annotated[str, Field(description="What the issuer calls them.")]
    email: str | None
    name: str | None
    role: str
    state: str
    version: int
    created_at: str
    last_sign_in_at: str | None


class MemberList(BaseModel):
    """One page of members."""

    data: list[MemberShape]
    pagination: Pagination


def member_shape(member: Member) -> MemberShape:
    """Return the public form of a member."""
    seen = member.last_sign_in_at
    return MemberShape(
        id=member.id,
        issuer=member.issuer,
        subject=member.subject,
        email=member.email,
        name=member.name,
        role=member.role,
        state=member.state,
        version=member.version,
        created_at=rfc3339(member.created_at),
        last_sign_in_at=None if seen is None else rfc3339(seen),
    )
