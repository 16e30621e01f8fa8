"""Shapes of sessions on the wire."""

from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.identity import sessions
from guardhouse.identity.people.store import Session

AFTER_SIGN_IN = "/api/v1/me"


class SignInRequest(BaseModel):
    """What `POST /auth/session` takes."""

    model_config = ConfigDict(extra="forbid", title="SignInRequest")

    api_key: Annotated[str, Field(min_length=1, max_length=200)]


class SessionShape(BaseModel):
    """A sign-in that lasts. It ends at `expires_at`, an hour after its last use, or when it is ended."""

    id: UUID
    tenant: str
    role: str
    opened_by: Literal["member", "key", "link"]
    holder_id: Annotated[UUID, Field(description="The member, key or link that it was opened for.")]
    current: Annotated[bool, Field(description="Whether this request came with it.")]
    created_at: str
    last_seen_at: Annotated[str, Field(description="To ten seconds or so.")]
    expires_at: str
    ip: str | None
    user_agent: str | None


class SessionList(BaseModel):
    """One page of sessions."""

    data: list[SessionShape]
    pagination: Pagination


def session_shape(session: Session, current: UUID | None) -> SessionShape:
    """Return the public form of a session; ``current`` is the caller's own."""
    return SessionShape(
        id=session.id,
        tenant=session.tenant.slug,
        role=session.role,
        opened_by=sessions.opened_by(session),
        holder_id=sessions.holder_id(session),
        current=session.id == current,
        created_at=rfc3339(session.created_at),
        last_seen_at=rfc3339(session.seen_at),
        expires_at=rfc3339(session.expires_at),
        ip=session.ip,
        user_agent=session.user_agent,
    )


def safe_next(wanted: str | None) -> str:
    """Return where to go after signing in: a path of this origin, or the default when it is anything else."""
    if not wanted or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return AFTER_SIGN_IN
    if any(ord(character) <= ord(" ") or ord(character) > ord("~") for character in wanted):
        return AFTER_SIGN_IN
    parts = urlsplit(wanted)
    return AFTER_SIGN_IN if parts.scheme or parts.netloc else wanted
