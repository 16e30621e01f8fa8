"""Shapes of keys and callers on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.caller import Caller
from guardhouse.identity.store import ApiKey
from guardhouse.identity.verify_key import Verified

Role = Literal["viewer", "analyst", "admin", "agent", "billing", "platform"]
Env = Literal["live", "test"]
KeyState = Literal["active", "rotating", "suspended", "revoked", "expired"]
KeyName = Annotated[str, Field(min_length=1, max_length=200, examples=["ci"])]
Scopes = Annotated[list[str], Field(min_length=1, max_length=100)]
PerMinute = Annotated[int, Field(ge=1, le=100_000, description="Requests per minute.")]
PerDay = Annotated[int, Field(ge=1, le=100_000_000, description="Requests per day.")]
LifeDays = Annotated[int, Field(ge=1, le=3650, description="Days until the key ends; absent: never.")]
Networks = Annotated[
    list[Annotated[str, Field(max_length=50)]],
    Field(
        max_length=50,
        description="Addresses or networks (CIDR) the key may be used from; empty: from anywhere.",
        examples=[["192.0.2.0/24"]],
    ),
]
GraceSeconds = Annotated[
    int, Field(ge=0, le=604_800, description="Seconds for which the old key works beside the new one.")
]


class KeyRequest(BaseModel):
    """What `POST /keys` takes."""

    model_config = ConfigDict(extra="forbid", title="KeyRequest")

    name: KeyName
    role: Role = "viewer"
    scopes: Scopes | None = None
    env: Annotated[Env | None, Field(description="Absent: that of the calling key.")] = None
    project_id: UUID | None = None
    expires_in_days: LifeDays | None = None
    rate_limit_per_minute: PerMinute = 60
    rate_limit_per_day: PerDay = 10_000
    ip_allow: Networks = []


class KeyChange(BaseModel):
    """What `PATCH /keys/{key_id}` takes; absent members stay."""

    model_config = ConfigDict(extra="forbid")

    name: KeyName | None = None
    scopes: Annotated[Scopes | None, Field(description="Fewer than before.")] = None
    rate_limit_per_minute: PerMinute | None = None
    rate_limit_per_day: PerDay | None = None
    ip_allow: Networks | None = None
    state: Literal["active", "suspended"] | None = None


class KeyRotation(BaseModel):
    """How long the old key works beside the new one."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: GraceSeconds = 0


class RevokeAllRequest(BaseModel):
    """Whether the calling key is spared."""

    model_config = ConfigDict(extra="forbid")

    except_current: bool = True


class VerifyRequest(BaseModel):
    """A key that somebody presented to the caller."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(max_length=1000)]


class KeyQuery(BaseModel):
    """Filters of `GET /keys`."""

    state: KeyState | None = None
    role: Role | None = None
    env: Annotated[Env | None, Field(description="`test`: the keys of the tenant's test twin.")] = None
    project_id: UUID | None = None


class KeyShape(BaseModel):
    """An API key without its text."""

    id: UUID
    name: str
    role: str
    scopes: list[str]
    env: str
    state: str
    project_id: UUID | None
    prefix: str
    last4: str
    created_at: str
    created_by: str
    expires_at: str | None
    rotates_until: Annotated[str | None, Field(description="A replaced key works until then.")]
    replaced_by: UUID | None
    rate_limit_per_minute: Annotated[int | None, Field(description="null: no limit of its own.")]
    rate_limit_per_day: Annotated[int | None, Field(description="null: no limit of its own.")]
    ip_allow: list[str]
    last_used_at: str | None
    last_used_ip: str | None
    exposed_at: Annotated[str | None, Field(description="When the key was last seen in a URL: rotate it.")]
    policy_id: Annotated[
        UUID | None, Field(description="The policy of detections that it is bound to; null: `default`.")
    ]


class NewKeyShape(KeyShape):
    """An API key with its text, given once."""

    api_key: ShownOnce


class KeyList(BaseModel):
    """One page of keys."""

    data: list[KeyShape]
    pagination: Pagination


class RevokedShape(BaseModel):
    """The keys that were revoked by this call."""

    revoked: list[UUID]


class LimitsShape(BaseModel):
    """Requests that a credential may make; null: no limit of its own."""

    per_minute: int | None
    per_day: int | None


class VerifiedShape(BaseModel):
    """What is known of a key that somebody presented."""

    valid: bool
    code: Annotated[str | None, Field(description="The refusal that a request with this key would meet.")]
    key_id: UUID | None
    scopes: list[str]
    expires_at: str | None
    ratelimit: LimitsShape | None


class CallerShape(BaseModel):
    """Who this credential is."""

    tenant: str
    tenant_id: UUID
    kind: str
    role: str
    scopes: list[str]
    credential_id: str
    project_id: UUID | None
    env: str
    expires_at: str | None
    limits: LimitsShape


def key_shape(key: ApiKey, now: datetime) -> KeyShape:
    """Return the public form of a key as it stands at ``now``."""
    return KeyShape(
        id=key.id,
        name=key.name,
        role=key.role,
        scopes=list(key.scopes),
        env=key.env,
        state=key.state_at(now),
        project_id=key.project_id,
        prefix=key.prefix,
        last4=key.last4,
        created_at=rfc3339(key.created_at),
        created_by=key.created_by,
        expires_at=_instant(key.expires_at),
        rotates_until=_instant(key.rotates_until),
        replaced_by=key.replaced_by,
        rate_limit_per_minute=key.rate_limit_per_minute,
        rate_limit_per_day=key.rate_limit_per_day,
        ip_allow=list(key.ip_allow),
        last_used_at=_instant(key.last_used_at),
        last_used_ip=key.last_used_ip,
        exposed_at=_instant(key.exposed_at),
        policy_id=key.policy_id,
    )


def new_key_shape(key: ApiKey, text: str, now: datetime) -> NewKeyShape:
    """Return the public form of a key that was made now, with its text."""
    return NewKeyShape(**key_shape(key, now).model_dump(), api_key=text)


def verified_shape(found: Verified) -> VerifiedShape:
    """Return what a gateway is told of a key."""
    key = found.key
    return VerifiedShape(
        valid=found.code is None,
        code=found.code,
        key_id=key.id if key else None,
        scopes=list(key.scopes) if key else [],
        expires_at=_instant(key.expires_at) if key else None,
        ratelimit=LimitsShape(per_minute=key.rate_limit_per_minute, per_day=key.rate_limit_per_day)
        if key
        else None,
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
        env=caller.env,
        expires_at=_instant(caller.expires_at),
        limits=LimitsShape(per_minute=caller.limits.minute, per_day=caller.limits.day),
    )


def _instant(value: datetime | None) -> str | None:
    return None if value is None else rfc3339(value)
