"""Invitations: codes, shown once, with which others register keys of this tenant; counted, and they end."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.identity import keys
from guardhouse.identity.registration import store
from guardhouse.identity.registration.store import Invite

PREFIX: Final = "ghi_"
_CODE_BYTES: Final = 24
# What a key has that somebody registered in a tenant that was there before.
INVITED_ROLE: Final = "agent"
INVITED_SCOPES: Final = ("detect:read", "detect:write", "keys:own", "usage:own", "webhooks:own")


@dataclass(frozen=True, slots=True)
class NewInvite:
    """What an invitation should be."""

    note: str | None = None
    role: str = INVITED_ROLE
    scopes: tuple[str, ...] | None = INVITED_SCOPES
    max_uses: int = 1
    expires_in_days: int = 7


async def create_invite(tx: Tx, clock: Clock, actor: Actor, wanted: NewInvite) -> tuple[Invite, str]:
    """Make an invitation into the actor's tenant and return it with its code, which is not kept.

    Raises:
        ScopeEscalation: a scope the role does not have.
    """
    code = PREFIX + secrets.token_urlsafe(_CODE_BYTES)
    now = clock.now()
    invite = Invite(
        id=new_id(),
        tenant_id=actor.tenant_id,
        note=wanted.note,
        role=wanted.role,
        scopes=keys.granted(wanted.role, wanted.scopes),
        uses=0,
        max_uses=wanted.max_uses,
        expires_at=now + timedelta(days=wanted.expires_in_days),
        revoked_at=None,
        created_at=now,
        created_by=actor.name,
    )
    await store.add_invite(tx, invite, digest(code))
    after = {"role": invite.role, "scopes": list(invite.scopes), "max_uses": invite.max_uses}
    await record(tx, actor, Entry("invite.create", f"invite:{invite.id}", after=after))
    return invite, code


async def get_invite(tx: Tx, tenant_id: UUID, invite_id: UUID) -> Invite:
    """Return one invitation of a tenant.

    Raises:
        NotFound: it has no such invitation.
    """
    invite = await store.get_invite(tx, tenant_id, invite_id)
    if invite is None:
        raise NotFound("There is no such invitation.")
    return invite


async def revoke_invite(tx: Tx, actor: Actor, invite_id: UUID, now: datetime) -> Invite:
    """End an invitation; what was registered with it stays. Repeatable.

    Raises:
        NotFound: the tenant has no such invitation.
    """
    ended = await store.revoke_invite(tx, actor.tenant_id, invite_id, now)
    invite = await get_invite(tx, actor.tenant_id, invite_id)
    if ended:
        await record(tx, actor, Entry("invite.revoke", f"invite:{invite_id}"))
    return invite


def digest(code: str) -> bytes:
    """Return what is stored of a code: 192 random bits need no pepper."""
    return hashlib.sha256(code.encode()).digest()
