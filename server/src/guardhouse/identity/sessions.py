"""Sessions: a sign-in that lasts twelve hours, or one hour without use. The cookie holds 256 bits and no meaning.

A session ends with what opened it: with its key, with a change of its member, at sign-out.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.audit.mask import mask
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation import peer
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity import store as identity_store
from guardhouse.identity.people import store
from guardhouse.identity.people.store import Session, Which
from guardhouse.identity.store import ApiKey

ABSOLUTE: Final = timedelta(hours=12)
IDLE: Final = timedelta(minutes=60)
COOKIE_BYTES: Final = 32
COOKIE_LENGTH: Final = 43  # as base64url without padding


@dataclass(frozen=True, slots=True)
class SessionFor:
    """What a session is opened for: one of member, key and link, what it may do, and what the issuer calls it."""

    tenant: TenantKey
    role: str
    scopes: frozenset[str]
    member_id: UUID | None = None
    key_id: UUID | None = None
    link_id: UUID | None = None
    issuer_id: UUID | None = None
    sid: str | None = None
    sub: str | None = None


@dataclass(frozen=True, slots=True)
class Presented:
    """What a cookie stands for: the session, and the key that it lives and dies with."""

    session: Session
    key: ApiKey | None


async def open_session(
    tx: Tx, resources: Resources, wanted: SessionFor, *, replacing: str | None = None
) -> tuple[str, Session]:
    """Open a session for the peer of this request and return it with its cookie's value, which is not kept.

    ``replacing`` is the cookie that the browser had so far; what it stood for ends here.
    """
    if replacing is not None and await store.end_replaced(tx, digest(replacing)):
        await identity_store.notify_change(tx)
    value = base64.urlsafe_b64encode(secrets.token_bytes(COOKIE_BYTES)).rstrip(b"=").decode()
    now, who = resources.clock.now(), peer.current()
    session_id = new_id()
    await store.add_session(
        tx,
        store.NewSession(
            session_id=session_id,
            tenant_id=wanted.tenant.id,
            digest=digest(value),
            member_id=wanted.member_id,
            key_id=wanted.key_id,
            link_id=wanted.link_id,
            role=wanted.role,
            scopes=sorted(wanted.scopes),
            issuer_id=wanted.issuer_id,
            sid=wanted.sid,
            sub=wanted.sub,
            created_at=now,
            seen_at=now,
            expires_at=now + ABSOLUTE,
            ip=who.address,
            user_agent=mask(who.user_agent),
        ),
    )
    session = await get_session(tx, wanted.tenant.id, session_id)
    after = {"role": session.role, "opened_by": opened_by(session)}
    actor = Actor(wanted.tenant.id, holder(session), credential(session))
    await record(tx, actor, Entry("session.open", f"session:{session.id}", after=after))
    return value, session


async def find_presented(tx: Tx, value: str) -> Presented | None:
    """Return what a cookie's value stands for; None when it opens nothing, whatever the reason."""
    return await _presented(tx, await store.find_session(tx, digest(value)))


async def find_again(tx: Tx, tenant_id: UUID, session_id: UUID) -> Presented | None:
    """Return a session that was presented before; None when it opens nothing any more."""
    session = await store.get_session(tx, tenant_id, session_id)
    return None if session is None else await _presented(tx, await store.find_session(tx, session.digest))


async def _presented(tx: Tx, found: tuple[Session, bool] | None) -> Presented | None:
    if found is None or not found[1]:
        return None
    session = found[0]
    if session.key_id is None:
        return Presented(session, None)
    key = await identity_store.get_key(tx, session.tenant.id, session.key_id)
    return None if key is None else Presented(session, key)


def well_formed(value: str) -> bool:
    """Tell whether a cookie's value can be one of ours, without a look-up."""
    return len(value) == COOKIE_LENGTH and value.isascii()


def is_over(session: Session, seen_at: datetime, now: datetime) -> bool:
    """Tell whether a session last used at ``seen_at`` has run out."""
    return now >= session.expires_at or now - seen_at >= IDLE


def opened_by(session: Session) -> str:
    """Return `member`, `key` or `link`."""
    if session.member_id is not None:
        return "member"
    return "key" if session.key_id is not None else "link"


def holder(session: Session) -> str:
    """Return who acts through a session, as the audit log names them: ``user:`` or ``key:`` and an id."""
    return f"{'key' if session.key_id is not None else 'user'}:{holder_id(session)}"


def holder_id(session: Session) -> UUID:
    """Return the id of the member, key or link that holds a session."""
    found = session.member_id or session.key_id or session.link_id
    if found is None:
        raise ValueError("a session without a holder")  # a constraint of the table forbids it
    return found


def credential(session: Session) -> str:
    """Return the session as the audit log names a credential."""
    return f"session:{session.id}"


async def get_session(tx: Tx, tenant_id: UUID, session_id: UUID) -> Session:
    """Return one session of a tenant.

    Raises:
        NotFound: the tenant has no such session.
    """
    session = await store.get_session(tx, tenant_id, session_id)
    if session is None:
        raise NotFound("There is no such session.")
    return session


async def list_sessions(
    tx: Tx, tenant_id: UUID, holder: UUID | None, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Session]:
    """Return sessions of a tenant, newest first; ``holder`` is the member, key or link whose sessions are meant."""
    return await store.list_sessions(tx, tenant_id, holder, limit, after)


async def end_session(tx: Tx, actor: Actor, session: Session) -> None:
    """End one session, everywhere within a second."""
    if await store.end_sessions(tx, session.tenant.id, Which(session_id=session.id)):
        await identity_store.notify_change(tx)
        await record(
            tx, actor, Entry("session.end", f"session:{session.id}", before={"opened_by": opened_by(session)})
        )


async def end_sessions(
    tx: Tx,
    tenant: TenantKey,
    *,
    sid: str | None = None,
    sub: str | None = None,
    issuer_id: UUID | None = None,
) -> int:
    """End the sessions that an issuer names (back-channel logout) and return how many there were.

    Raises:
        ValueError: neither ``sid`` nor ``sub``, which would mean everybody.
    """
    if sid is None and sub is None:
        raise ValueError("name the session or the subject")
    ended = await store.end_sessions(tx, tenant.id, Which(sid=sid, sub=sub, issuer_id=issuer_id))
    if ended:
        await identity_store.notify_change(tx)
        actor = Actor(tenant.id, f"issuer:{issuer_id}" if issuer_id else "issuer:")
        targets = [str(session_id) for session_id in ended]
        await record(tx, actor, Entry("session.end", f"session:{targets[0]}", before={"sessions": targets}))
    return len(ended)


def digest(value: str) -> bytes:
    """Return what is stored of a cookie: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(value.encode()).digest()
