"""Routes of sessions: sign in with a key or a one-time link, sign out, see and end sessions."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation import logs, peer
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import key_format, keys, session_cookie, sessions, sign_in_links
from guardhouse.identity.addresses import AddressNotAllowed, check_address
from guardhouse.identity.caller import Caller, Require, judge
from guardhouse.identity.failures import Failures, TooManyFailures
from guardhouse.identity.people.store import Session, SignInLink
from guardhouse.identity.refusals import (
    ApiKeyExpired,
    ApiKeyMalformed,
    ApiKeyRevoked,
    ApiKeySuspended,
    ApiKeyUnknown,
    TenantSuspended,
    Unauthenticated,
)
from guardhouse.identity.roles import ROLES
from guardhouse.identity.session_cookie import CsrfRefused
from guardhouse.identity.sessions import SessionFor
from guardhouse.identity.sign_in.wire import (
    SessionList,
    SessionShape,
    SignInRequest,
    safe_next,
    session_shape,
)
from guardhouse.identity.sign_in_links import LinkExpired
from guardhouse.identity.store import ApiKey

router = api_router("sessions")
doors = api_router("sessions", prefix="/auth")
Anybody = Annotated[Caller, Depends(Require(None))]
Own = Annotated[Caller, Depends(Require("keys:own"))]
_log = logs.get(__name__)


@doors.post(
    "/session",
    status_code=201,
    operation_id="create_session",
    responses=refusals(
        ApiKeyMalformed,
        ApiKeyUnknown,
        ApiKeyRevoked,
        ApiKeyExpired,
        ApiKeySuspended,
        TenantSuspended,
        AddressNotAllowed,
        CsrfRefused,
        TooManyFailures,
    ),
)
async def create_session(
    shared: Shared, request: Request, response: Response, wanted: SignInRequest
) -> SessionShape:
    """Sign in with an API key: the answer sets a cookie that can do what the key can, and dies with it."""
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise CsrfRefused("Another site asked the browser to sign in.")
    try:
        key = await _key_of(shared, wanted.api_key)
        caller = await _judged(shared, key)
    except Unauthenticated:
        _count_failure(request)
        raise
    opened = SessionFor(caller.tenant, caller.role, caller.scopes, key_id=key.id)
    value, session = await _open(shared, request, opened)
    response.headers["Set-Cookie"] = session_cookie.set_cookie(shared.settings.public_url, value)
    response.headers["Cache-Control"] = "no-store"
    return session_shape(session, session.id)


@doors.get(
    "/link",
    status_code=303,
    operation_id="open_link",
    responses=refusals(LinkExpired, TenantSuspended, TooManyFailures),
)
async def open_link(
    shared: Shared,
    request: Request,
    token: Annotated[str, Query(max_length=100, description="From `guardhouse keys login-link`.")],
    onward: Annotated[
        str | None, Query(alias="next", max_length=2000, description="Path to go on to, of this origin.")
    ] = None,
) -> Response:
    """Spend a one-time link: the answer sets a cookie and sends the browser on. HEAD spends none: previews send it."""
    if getattr(request.state, "head", False):
        return Response(status_code=303, headers={"Location": safe_next(onward), "Cache-Control": "no-store"})
    try:
        async with system_transaction(shared) as tx:
            link = await sign_in_links.redeem(tx, shared, token)
            value = await _open_for_link(tx, shared, link, _cookie(shared, request))
    except LinkExpired:
        _count_failure(request)
        raise
    headers = {
        "Location": safe_next(onward),
        "Set-Cookie": session_cookie.set_cookie(shared.settings.public_url, value),
        "Cache-Control": "no-store",
    }
    return Response(status_code=303, headers=headers)


@doors.delete("/session", status_code=204, operation_id="end_session")
async def end_session(caller: Anybody, tx: RequestTx, shared: Shared) -> Response:
    """Sign out: this session ends everywhere. Without one there is nothing to end."""
    if caller.session_id is not None:
        session = await sessions.get_session(tx, caller.tenant.id, caller.session_id)
        await sessions.end_session(tx, caller.actor, session)
    cleared = session_cookie.clear_cookie(shared.settings.public_url)
    return Response(status_code=204, headers={"Set-Cookie": cleared})


@router.get("/sessions", operation_id="list_sessions", response_model=SessionList)
async def list_sessions(caller: Own, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List open sessions, newest first: the tenant's with `members:read`, else one's own."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await sessions.list_sessions(
        tx, caller.tenant.id, _whose(caller, "members:read"), page.limit + 1, after
    )
    return page.answer(
        rows,
        lambda session: (microseconds(session.created_at), session.id.bytes),
        lambda session: session_shape(session, caller.session_id),
    )


@router.delete(
    "/sessions/{session_id}", status_code=204, operation_id="delete_session", responses=refusals(NotFound)
)
async def delete_session(caller: Own, tx: RequestTx, session_id: UUID) -> Response:
    """End a session everywhere: any of the tenant with `members:write`, else one's own."""
    session = await sessions.get_session(tx, caller.tenant.id, session_id)
    if _whose(caller, "members:write") not in {None, sessions.holder_id(session)}:
        raise NotFound("There is no such session.")
    await sessions.end_session(tx, caller.actor, session)
    return Response(status_code=204)


def _whose(caller: Caller, all_with: str) -> UUID | None:
    if all_with in caller.scopes:
        return None
    try:
        return UUID(caller.credential_id)
    except ValueError:  # an agent's key or a client: it has no sessions
        return UUID(int=0)


async def _key_of(shared: Resources, text: str) -> ApiKey:
    if not key_format.well_formed(text):
        raise ApiKeyMalformed("This is not an API key of Guardhouse, or a character is wrong.")
    async with system_transaction(shared) as tx:
        key = await keys.find_key(tx, shared.peppers, text)
    if key is None:
        _log.warning("sign_in_refused", code=ApiKeyUnknown.code)
        raise ApiKeyUnknown("There is no such API key.")
    return key


async def _judged(shared: Resources, key: ApiKey) -> Caller:
    """Return the caller for a key; a refusal is recorded in the log of the key's tenant, then raised."""
    try:
        check_address(key.ip_allow, peer.current().address)
        return judge(key, shared.clock.now())
    except Problem as refusal:
        _log.warning("sign_in_refused", code=refusal.code)
        actor = Actor(key.tenant.id, f"key:{key.id}", str(key.id))
        async with system_transaction(shared) as tx:
            await record(tx, actor, Entry("session.refuse", f"key:{key.id}", after={"code": refusal.code}))
        raise


async def _open_for_link(tx: Tx, shared: Resources, link: SignInLink, before: str | None) -> str:
    wanted = SessionFor(link.tenant.key, link.role, ROLES[link.role], link_id=link.id)
    value, _ = await sessions.open_session(tx, shared, wanted, replacing=before)
    return value


def _count_failure(request: Request) -> None:
    """Count a refused sign-in of an address, and refuse it louder when there are too many."""
    failures: Failures = request.app.state.failures
    failures.count(peer.current().address)


async def _open(shared: Resources, request: Request, wanted: SessionFor) -> tuple[str, Session]:
    async with system_transaction(shared) as tx:
        return await sessions.open_session(tx, shared, wanted, replacing=_cookie(shared, request))


def _cookie(shared: Resources, request: Request) -> str | None:
    """Return the cookie of a session before, which ends at the next sign-in: an id is never used twice."""
    return request.cookies.get(session_cookie.cookie_name(shared.settings.public_url))
