"""The Caller: who asks, for which tenant, with which scopes. The one thing features know of identity.

Exactly one credential per request, judged from the headers before a byte of the body is read.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final, Protocol
from uuid import UUID

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from guardhouse.audit.record import Actor
from guardhouse.foundation import peer
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import DatabaseAway, TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import asked_once, claim, resources_of, system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import jws, key_format, keys, session_cookie, sessions
from guardhouse.identity.addresses import check_address
from guardhouse.identity.bearers import TOKEN, TRUST, Bearer, Bearers, bearer_scopes
from guardhouse.identity.failures import Failures
from guardhouse.identity.key_cache import KeyCache, Known
from guardhouse.identity.refusals import (
    AmbiguousCredentials,
    ApiKeyExpired,
    ApiKeyMalformed,
    ApiKeyMissing,
    ApiKeyRevoked,
    ApiKeySuspended,
    ApiKeyUnknown,
    ScopeMissing,
    SessionExpired,
    TenantSuspended,
    Unauthenticated,
)
from guardhouse.identity.session_cache import SessionCache
from guardhouse.identity.sessions import Presented
from guardhouse.identity.signatures import SignedBy
from guardhouse.identity.store import ApiKey

_OTHER_CREDENTIALS: Final = ("x-api-key", "authorization", "signature", "signature-input")
_NO_END: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls that a credential may make in any minute and in any day; None = no limit of its own."""

    minute: int | None = None
    day: int | None = None


NO_LIMITS: Final = Limits()


class Admit(Protocol):
    """Lets an identified caller in, or raises the problem that says when to come back (``usage.limits``)."""

    async def __call__(self, caller: "Caller") -> object:
        """Return what the answer tells of the limits."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``agent_id`` is set for a host agent, ``project_id`` and ``policy_id`` when the key is bound to one.

    ``session_id`` is set when a cookie stands for the credential.
    """

    tenant: TenantKey
    tenant_slug: str
    kind: str
    role: str
    scopes: frozenset[str]
    credential_id: str
    project_id: UUID | None = None
    agent_id: str | None = None
    signed: SignedBy | None = None
    session_id: UUID | None = None
    held_as: str | None = None
    env: str = "live"
    expires_at: datetime | None = None
    limits: Limits = NO_LIMITS
    policy_id: UUID | None = None

    @property
    def credential(self) -> str:
        """What was presented: a session as ``session:`` and its id, a token by its name, a key by its id."""
        return f"session:{self.session_id}" if self.session_id else self.held_as or self.credential_id

    @property
    def actor(self) -> Actor:
        """The caller as the audit log names it."""
        return Actor(self.tenant.id, f"{self.kind}:{self.credential_id}", self.credential)

    def need(self, scope: str) -> None:
        """Insist on a scope.

        Raises:
            ScopeMissing: the caller does not have it.
        """
        if scope not in self.scopes:
            raise ScopeMissing(f"This needs the scope {scope}.", required_scope=scope)


def agent_caller(signed: SignedBy) -> Caller:
    """Return the caller for a verified agent signature: it may send events, nothing else."""
    return Caller(
        tenant=signed.tenant.key,
        tenant_slug=signed.tenant.slug,
        kind="agent",
        role="agent",
        scopes=frozenset({"events:write"}),
        credential_id=signed.keyid,
        agent_id=signed.agent_id,
        signed=signed,
    )


def bearer_caller(bearer: Bearer) -> Caller:
    """Return the caller for a good token.

    Raises:
        TenantSuspended: its tenant is not active.
    """
    if bearer.tenant.state != "active":
        raise TenantSuspended("The tenant of this token is not active.")
    return Caller(
        tenant=bearer.tenant.key,
        tenant_slug=bearer.tenant.slug,
        kind=bearer.kind,
        role=bearer.role,
        scopes=bearer.scopes,
        credential_id=bearer.credential_id,
        held_as=bearer.held_as,
    )


class Require:
    """A dependency that identifies the caller and insists on a scope: ``Annotated[Caller, Depends(Require("x"))]``.

    Any of several scopes opens it: ``Require("keys:read", "keys:own")``; the first is the one that is missed.
    Declare it before ``Tx`` and ``Page``: both take the tenant from the caller.
    """

    before_body: ClassVar = True

    def __init__(self, scope: str | None, *others: str) -> None:
        self.scope = scope
        self.scopes = frozenset() if scope is None else frozenset({scope, *others})

    async def __call__(self, request: Request) -> Caller:
        """Return the caller.

        Raises:
            Problem: one of the 401 and 403 of api-webhooks-identity §2.3.
        """
        caller = await identify(request)
        if self.scope is not None and self.scopes.isdisjoint(caller.scopes):
            caller.need(self.scope)
        return caller


async def open_platform_tx(request: Request, _caller: "PlatformCaller") -> AsyncIterator[Tx]:
    """Open the transaction of a request that acts across tenants: there is none without the scope ``platform``."""
    call = await asked_once(request)
    async with system_transaction(resources_of(request)) as tx:
        await claim(request, tx, call)
        yield tx


open_platform_tx.claims = True  # type: ignore[attr-defined]  # as foundation.request.open_tx
PlatformCaller = Annotated[Caller, Depends(Require("platform"))]
PlatformTx = Annotated[Tx, Depends(open_platform_tx, scope="function")]


async def identify(request: HTTPConnection, *, metered: bool = True) -> Caller:
    """Return the caller of a request from its headers alone and remember it, for Tx, Page and usage.

    A metered request is charged to the caller's limits, once however often it is identified. A bad credential
    counts as a failure of its address.

    Raises:
        Problem: a 401 or 403 of api-webhooks-identity §2.3, or a limit's 429.
    """
    cookie = read_cookie(request)
    try:
        caller = await _by_header(request) if cookie is None else await _by_session(request, cookie)
    except (ApiKeyMissing, SessionExpired):
        raise
    except Unauthenticated:
        failures: Failures = request.app.state.failures
        failures.count(peer.current().address)
        raise
    remember(request, caller)
    if metered and not hasattr(request.state, "verdict"):
        admit: Admit = request.app.state.admit
        request.state.verdict = await admit(caller)
    return caller


async def _by_header(request: HTTPConnection) -> Caller:
    text = read_key(request)
    if jws.looks_like_token(text) and not request.headers.get("x-api-key"):
        bearers: Bearers = request.app.state.bearers
        return bearer_caller(await bearers.find(text))
    return await _by_key(request, text)


async def _by_key(request: HTTPConnection, text: str) -> Caller:
    cache: KeyCache = request.app.state.key_cache
    known = cache.find(text) or await _look_up(resources_of(request), cache, text)
    key = known.key
    if key is None:
        raise ApiKeyUnknown("There is no such API key.")
    now = resources_of(request).clock.now()
    caller = check(known, key, now)
    address = peer.current().address
    if key.ip_allow:
        check_address(key.ip_allow, address)
    if key.rotates_until is not None:
        request.state.key_expires = rfc3339(key.rotates_until)
    cache.mark_used(key.id, now, address)
    return caller


async def _look_up(resources: Resources, cache: KeyCache, text: str) -> Known:
    if not key_format.well_formed(text):
        raise ApiKeyMalformed("This is not an API key of Guardhouse, or a character is wrong.")
    generation = cache.generation
    async with system_transaction(resources) as tx:
        key = await keys.find_key(tx, resources.peppers, text)
    return cache.keep(text, key, generation)


def check(known: Known, key: ApiKey, now: datetime) -> Caller:
    """Return the caller for a key in the cache, judged once for as long as time alone changes nothing.

    Raises:
        Problem: as :func:`judge`.
    """
    if now < known.judged_until:
        judged: Caller = known.judged
        return judged
    caller = known.judged = judge(key, now)
    ends = [end for end in (key.expires_at, key.rotates_until) if end is not None]
    known.judged_until = min(ends, default=_NO_END)
    return caller


def read_cookie(request: HTTPConnection) -> str | None:
    """Return the session's cookie; None when there is none, or any other credential beside it."""
    if any(name in request.headers for name in _OTHER_CREDENTIALS):
        return None
    name = session_cookie.cookie_name(resources_of(request).settings.public_url)
    return request.cookies.get(name)


async def _by_session(request: HTTPConnection, cookie: str) -> Caller:
    session_cookie.check_origin(request.scope.get("method", "GET"), request.headers)
    if not sessions.well_formed(cookie):
        raise SessionExpired("This is not a session of Guardhouse.")
    cache: SessionCache = request.app.state.session_cache
    resources = resources_of(request)
    now, known_as = resources.clock.now(), sessions.digest(cookie)
    found = cache.find(known_as)
    if found is None or sessions.is_over(found.session, cache.seen_at(found), now):
        generation = cache.generation
        async with system_transaction(resources) as tx:
            found = await sessions.find_presented(tx, cookie)
        if found is None or sessions.is_over(found.session, cache.seen_at(found), now):
            raise SessionExpired("The session has ended.")
        cache.put(known_as, found, generation)
    caller = judge_session(found, now)
    if found.key is not None:
        check_address(found.key.ip_allow, peer.current().address)
    cache.mark_seen(found.session.id, now)
    return caller


def judge_session(found: Presented, now: datetime) -> Caller:
    """Return the caller for a session: all its key can do now, or what it was opened with.

    Raises:
        Problem: its key does not open anything any more, or its tenant is not active.
    """
    session = found.session
    if found.key is not None:
        return replace(judge(found.key, now), session_id=session.id)
    if session.tenant.state != "active":
        raise TenantSuspended("The tenant of this session is not active.")
    return Caller(
        tenant=session.tenant.key,
        tenant_slug=session.tenant.slug,
        kind="user",
        role=session.role,
        scopes=frozenset(session.scopes),
        credential_id=str(sessions.holder_id(session)),
        session_id=session.id,
    )


async def still_opens(resources: Resources, tenant_id: UUID, credential: str, scopes: frozenset[str]) -> bool:
    """Tell whether a credential still has all of these scopes, for whoever holds a door open with it.

    ``credential`` is :attr:`Caller.credential`.

    Raises:
        DatabaseAway: nobody can say for now.
    """
    now = resources.clock.now()
    try:
        async with system_transaction(resources) as tx:
            found = await _scopes_now(tx, tenant_id, credential, now)
    except DatabaseAway:
        raise
    except (Problem, ValueError):
        return False
    return found is not None and scopes <= found


async def _scopes_now(tx: Tx, tenant_id: UUID, credential: str, now: datetime) -> frozenset[str] | None:
    kind, _, rest = credential.partition(":")
    if kind in {TOKEN, TRUST}:
        return await bearer_scopes(tx, tenant_id, credential, now)
    if kind != "session":
        return judge(await keys.get_key(tx, tenant_id, UUID(credential)), now).scopes
    found = await sessions.find_again(tx, tenant_id, UUID(rest))
    if found is None or sessions.is_over(found.session, found.session.seen_at, now):
        return None
    return judge_session(found, now).scopes


def remember(request: HTTPConnection, caller: Caller) -> None:
    """Say for the rest of the request who its caller is."""
    request.state.tenant = caller.tenant
    request.state.caller = caller


def read_key(request: HTTPConnection) -> str:
    """Return the one API key of the headers.

    Raises:
        Problem: missing or ambiguous.
    """
    found = {value.strip() for value in request.headers.getlist("x-api-key")}
    for authorization in request.headers.getlist("authorization"):
        scheme, _, bearer = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise ApiKeyMissing("This kind of Authorization is not accepted here.")
        found.add(bearer.strip())
    found.discard("")
    if len(found) > 1:
        raise AmbiguousCredentials("The headers hold different keys.")
    if not found:
        raise ApiKeyMissing("The request has no API key.")
    return found.pop()


def judge(key: ApiKey, now: datetime) -> Caller:
    """Return the caller for a stored key.

    Raises:
        Problem: revoked, suspended, expired, or of a tenant that is not active.
    """
    state = key.state_at(now)
    if state == "revoked":
        raise ApiKeyRevoked("The API key was revoked.")
    if state == "suspended":
        raise ApiKeySuspended("The API key is suspended.")
    if state == "expired" and key.expires_at is not None:
        raise ApiKeyExpired(f"The API key expired at {rfc3339(key.expires_at)}.")
    if key.tenant.state != "active":
        raise TenantSuspended("The tenant of this key is not active.")
    return Caller(
        tenant=key.tenant.key,
        tenant_slug=key.tenant.slug,
        kind="key",
        role=key.role,
        scopes=frozenset(key.scopes),
        credential_id=str(key.id),
        project_id=key.project_id,
        env=key.env,
        expires_at=key.expires_at,
        limits=Limits(key.rate_limit_per_minute, key.rate_limit_per_day),
        policy_id=key.policy_id,
    )
