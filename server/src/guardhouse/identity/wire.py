"""Shapes of keys and callers on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.caller import Caller
from guardhouse.identity.store import ApiKey

Role = Literal["viewer", "analyst", "admin", "agent"]


class KeyRequest(BaseModel):
    """What `POST /keys` takes."""

    model_config = ConfigDict(extra="forbid", title="KeyRequest")

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["ci"])]
    role: Role = "viewer"
    scopes: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    env: Literal["live", "test"] = "live"
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class KeyShape(BaseModel):
    """An API key without its text."""

    id: UUID
    name: str
    role: str
    scopes: list[str]
    env: str
    state: str
    prefix: str
    last4: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class NewKeyShape(KeyShape):
    """An API key with its text, given once."""

    api_key: ShownOnce


class KeyList(BaseModel):
    """One page of keys."""

    data: list[KeyShape]
    pagination: Pagination


class CallerShape(BaseModel):
    """Who this credential is."""

    tenant: str
    tenant_id: UUID
    kind: str
    role: str
    scopes: list[str]
    credential_id: str
    project_id: UUID | None


def key_shape(key: ApiKey) -> KeyShape:
    """Return the public form of a key."""
    return KeyShape(
        id=key.id,
        name=key.name,
        role=key.role,
        scopes=list(key.scopes),
        env=key.env,
        state=key.state,
        prefix=key.prefix,
        last4=key.last4,
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at) if key.expires_at else None,
        last_used_at=rfc3339(key.last_used_at) if key.last_used_at else None,
    )


def caller_shape(caller: Caller) -> CallerShape:
    """Return the public form of a caller."""
    return CallerShape(
        tenant=caller.tenant_slug,
        tenant_id=caller.tenant.id,
        kind=caller.kind,
        role=caller.role,
        scopes=sorted(caller.scopes),
        credential_id=caller.credential_id,
        project_id=caller.project_id,
    )
