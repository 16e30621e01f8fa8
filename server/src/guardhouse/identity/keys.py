"""API keys: made once and shown once, stored as digests, found by any live pepper, revoked for good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Pepper
from guardhouse.identity import key_format, store, twins
from guardhouse.identity.roles import ROLES
from guardhouse.identity.store import EVERY_KEY, ApiKey, KeyFilter, Tenant
from guardhouse.notices.identity_kinds import KeyCreated, KeyRevoked
from guardhouse.notices.publish import publish


class ScopeEscalation(Problem):
    """A key was asked for with more than its creator has."""

    status, code, title = 403, "scope_escalation", "Scope escalation"
    remediation = "Ask for scopes that your own key has, or let an admin make the key."


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key should be. ``scopes=None`` takes all scopes of the role, a limit of None is no limit."""

    name: str
    role: str = "admin"
    scopes: tuple[str, ...] | None = None
    project_id: UUID | None = None
    env: str = "live"
    expires_in_days: int | None = None
    rate_limit_per_minute: int | None = None
    rate_limit_per_day: int | None = None
    ip_allow: tuple[str, ...] = ()


async def create_key(
    tx: Tx, clock: Clock, pepper: Pepper, tenant: Tenant, wanted: NewKey, *, created_by: Actor | str
) -> tuple[ApiKey, str]:
    """Make a key of a tenant, or of its test twin, and return it with its text, which is not kept.

    ``created_by`` is the caller, or the name of the part of the system that makes it.

    Raises:
        ScopeEscalation: a scope the role does not have.
        ValidationFailed: the project is none of the tenant's.
    """
    scopes = granted(wanted.role, wanted.scopes)
    if wanted.env == "test":
        tenant = await twins.ensure_twin(tx, clock, tenant)
    actor = actor_in(tenant.id, created_by)
    now = clock.now()
    text = key_format.new_key(wanted.env)
    key = ApiKey(
        id=new_id(),
        tenant=tenant,
        name=wanted.name,
        role=wanted.role,
        scopes=scopes,
        project_id=wanted.project_id,
        env=wanted.env,
        state="active",
        prefix=text[: key_format.PREFIX_LENGTH],
        last4=text[-4:],
        expires_at=now + timedelta(days=wanted.expires_in_days) if wanted.expires_in_days else None,
        created_at=now,
        created_by=actor.name,
        rate_limit_per_minute=wanted.rate_limit_per_minute,
        rate_limit_per_day=wanted.rate_limit_per_day,
        ip_allow=wanted.ip_allow,
    )
    async with tx.inside(tenant.key):
        await add_key(tx, key, text, pepper)
        created = KeyCreated(key_id=key.id, name=key.name, actor=actor.name, role=key.role)
        await publish(tx, created, tenant_id=tenant.id, subject_seq=key.version)
        await record(tx, actor, Entry("key.create", f"key:{key.id}", after=described(key)))
    return key, text


def granted(role: str, scopes: Iterable[str] | None) -> tuple[str, ...]:
    """Return the scopes of a credential of a role: all of them, or the fewer that were asked for.

    Raises:
        ScopeEscalation: one that the role does not have.
    """
    of_role = ROLES[role]
    found = of_role if scopes is None else frozenset(scopes)
    if not found <= of_role:
        raise ScopeEscalation(f"The role {role} does not have {', '.join(sorted(found - of_role))}.")
    return tuple(sorted(found))


def actor_in(tenant_id: UUID, who: Actor | str) -> Actor:
    """Return who acts as the log of one tenant names it: a change is recorded where the key is."""
    if isinstance(who, Actor):
        return replace(who, tenant_id=tenant_id)
    return Actor(tenant_id, f"system:{who}")


def described(key: ApiKey) -> dict[str, Any]:
    """Return what of a key can be changed, as the audit log shows it."""
    return {
        "name": key.name,
        "role": key.role,
        "scopes": list(key.scopes),
        "state": key.state,
        "project_id": key.project_id,
        "expires_at": key.expires_at,
        "rotates_until": key.rotates_until,
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "rate_limit_per_day": key.rate_limit_per_day,
        "ip_allow": list(key.ip_allow),
        "policy_id": key.policy_id,
    }


async def add_key(tx: Tx, key: ApiKey, text: str, pepper: Pepper) -> None:
    """Store a key under the digest of its text.

    Raises:
        ValidationFailed: the project is none of the tenant's.
    """
    try:
        await store.add_key(tx, key, key_format.digest(pepper, text), pepper.kid)
    except store.NoSuchProject:
        raise ValidationFailed(
            "There is no such project.",
            errors=[{"pointer": "/project_id", "code": "unknown", "detail": str(key.project_id)}],
        ) from None


async def revoke_key(tx: Tx, tenant_id: UUID, key_id: UUID, *, revoked_by: Actor | str) -> ApiKey:
    """End a key for good; repeatable.

    Raises:
        NotFound: the tenant has no such key.
    """
    key = await get_key(tx, tenant_id, key_id, lock=True)
    if key.state == "revoked":
        return key
    actor = actor_in(tenant_id, revoked_by)
    revoked = replace(key, state="revoked", version=await store.change_key(tx, key, {"state": "revoked"}))
    await store.notify_change(tx)
    said = KeyRevoked(key_id=key.id, name=key.name, actor=actor.name)
    await publish(tx, said, tenant_id=tenant_id, subject_seq=revoked.version)
    entry = Entry("key.revoke", f"key:{key.id}", {"state": key.state}, {"state": "revoked"})
    await record(tx, actor, entry)
    return revoked


async def get_key(tx: Tx, tenant_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey:
    """Return one key of a tenant.

    Raises:
        NotFound: the tenant has no such key.
    """
    key = await store.get_key(tx, tenant_id, key_id, lock=lock)
    if key is None:
        raise NotFound("There is no such key.")
    return key


async def list_keys(
    tx: Tx,
    tenant_id: UUID,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
    wanted: KeyFilter = EVERY_KEY,
) -> list[ApiKey]:
    """Return keys of a tenant, newest first."""
    return await store.list_keys(tx, tenant_id, limit, after, wanted)


async def find_key(tx: Tx, peppers: Sequence[Pepper], text: str) -> ApiKey | None:
    """Return the stored key for a text, tried under every live pepper; a used key moves to the newest."""
    digests = [key_format.digest(pepper, text) for pepper in peppers]
    found = await store.find_key(tx, digests)
    if found is None:
        return None
    key, digest = found
    if digest != digests[0]:
        await store.set_key_digest(tx, key.id, digests[0], peppers[0].kid)
    return key
