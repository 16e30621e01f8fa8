"""API keys: made once and shown once, stored as digests, checked through a short-lived cache.

A revocation holds everywhere within a second: a NOTIFY drops every cache, and while the listening
connection is lost entries live one second only.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Pepper
from guardhouse.identity import key_format, store
from guardhouse.identity.roles import ROLES
from guardhouse.identity.store import ApiKey, Tenant
from guardhouse.notices.identity_kinds import KeyCreated, KeyRevoked
from guardhouse.notices.publish import publish

CACHE_SECONDS: Final = 30.0
UNKNOWN_SECONDS: Final = 10.0
DEAF_SECONDS: Final = 1.0
CACHE_ENTRIES: Final = 10_000


class ScopeEscalation(Problem):
    """A key was asked for with more than its creator has."""

    status, code, title = 403, "scope_escalation", "Scope escalation"
    remediation = "Ask for scopes that your own key has, or let an admin make the key."


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key should be. ``scopes=None`` takes all scopes of the role."""

    name: str
    role: str = "admin"
    scopes: tuple[str, ...] | None = None
    project_id: UUID | None = None
    env: str = "live"
    expires_in_days: int | None = None


async def create_key(
    tx: Tx, clock: Clock, pepper: Pepper, tenant: Tenant, wanted: NewKey, *, created_by: str
) -> tuple[ApiKey, str]:
    """Make a key of a tenant and return it with its text, which is not kept.

    Raises:
        ScopeEscalation: a scope the role does not have.
    """
    granted = ROLES[wanted.role]
    scopes = tuple(sorted(granted if wanted.scopes is None else set(wanted.scopes)))
    if not granted.issuperset(scopes):
        raise ScopeEscalation(
            f"The role {wanted.role} does not have {', '.join(sorted(set(scopes) - granted))}."
        )
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
        created_by=created_by,
        last_used_at=None,
    )
    await store.add_key(tx, key, key_format.digest(pepper, text), pepper.kid)
    created = KeyCreated(key_id=key.id, name=key.name, actor=created_by, role=key.role)
    await publish(tx, created, tenant_id=tenant.id, subject_seq=1)
    return key, text


async def revoke_key(tx: Tx, tenant_id: UUID, key_id: UUID, *, revoked_by: str) -> ApiKey:
    """End a key for good; repeatable.

    Raises:
        NotFound: the tenant has no such key.
    """
    key = await get_key(tx, tenant_id, key_id)
    if key.state == "revoked":
        return key
    await store.set_key_state(tx, tenant_id, key_id, "revoked")
    await store.notify_change(tx)
    revoked = KeyRevoked(key_id=key.id, name=key.name, actor=revoked_by)
    await publish(tx, revoked, tenant_id=tenant_id, subject_seq=2)
    return replace(key, state="revoked")


async def get_key(tx: Tx, tenant_id: UUID, key_id: UUID) -> ApiKey:
    """Return one key of a tenant.

    Raises:
        NotFound: the tenant has no such key.
    """
    key = await store.get_key(tx, tenant_id, key_id)
    if key is None:
        raise NotFound("There is no such key.")
    return key


async def list_keys(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[ApiKey]:
    """Return keys of a tenant, newest first."""
    return await store.list_keys(tx, tenant_id, limit, after)


async def find_by_prefix(tx: Tx, tenant_id: UUID, prefix: str) -> list[ApiKey]:
    """Return the keys of a tenant whose text begins like this, as ``prefix`` of a key shows it."""
    return await store.find_by_prefix(tx, tenant_id, prefix)


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


@dataclass(slots=True)
class KeyCache:
    """Keys seen lately, by SHA-256 of their text; unknown ones are remembered as None for a shorter time."""

    connected: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    generation: int = 0
    _entries: dict[bytes, tuple[float, ApiKey | None]] = field(default_factory=dict)
    _used: dict[UUID, datetime] = field(default_factory=dict)

    def get(self, text: str) -> tuple[bool, ApiKey | None]:
        """Return whether the cache knows this text, and the key (None: known to be unknown)."""
        entry = self._entries.get(hashlib.sha256(text.encode()).digest())
        if entry is None:
            return False, None
        age = self.monotonic() - entry[0]
        if age > UNKNOWN_SECONDS and (entry[1] is None or age > CACHE_SECONDS):
            return False, None
        if age > DEAF_SECONDS and not self.connected():
            return False, None
        return True, entry[1]

    def put(self, text: str, key: ApiKey | None, generation: int) -> None:
        """Remember the outcome of a look-up that began in ``generation``; the oldest entry gives way when full.

        What was looked up before the last :meth:`drop` may show the state before the change, and is not kept.
        """
        if generation != self.generation:
            return
        if len(self._entries) >= CACHE_ENTRIES:
            self._entries.pop(next(iter(self._entries)))
        self._entries[hashlib.sha256(text.encode()).digest()] = (self.monotonic(), key)

    def drop(self, _payload: str = "") -> None:
        """Forget everything: credentials have changed somewhere."""
        self.generation += 1
        self._entries.clear()

    def mark_used(self, key_id: UUID, now: datetime) -> None:
        """Note a use, to be written with the next batch."""
        self._used[key_id] = now

    def take_used(self) -> list[tuple[UUID, datetime]]:
        """Return and forget the uses noted since the last call."""
        used, self._used = list(self._used.items()), {}
        return used
