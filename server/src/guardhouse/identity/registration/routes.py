"""Routes of registration in its older form, and of the invitations behind it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar
from uuid import UUID

from fastapi import Depends, Request

from guardhouse.foundation import peer
from guardhouse.foundation.clock import from_microseconds, microseconds, rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    asked_once,
    claim,
    resources_of,
    system_transaction,
)
from guardhouse.identity import keys, reach, rotate_key
from guardhouse.identity.caller import Caller, Require, identify
from guardhouse.identity.failures import Failures, TooManyFailures
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.refusals import ApiKeyUnknown, ScopeMissing
from guardhouse.identity.registration import invites, register, store
from guardhouse.identity.registration.invites import NewInvite
from guardhouse.identity.registration.register import (
    InviteInvalid,
    RegistrationClosed,
    TooManyRegistrations,
    Wish,
)
from guardhouse.identity.registration.wire import (
    InviteList,
    InviteRequest,
    InviteShape,
    NewInviteShape,
    RegisteredShape,
    RegisterRequest,
    RevokedKeyShape,
    RotateOwnRequest,
    asked_scopes,
    invite_shape,
    registered_shape,
)

Reader = Annotated[Caller, Depends(Require("keys:read"))]
Writer = Annotated[Caller, Depends(Require("keys:write"))]
Itself = Annotated[Caller, Depends(Require("keys:own", "keys:write"))]


class Registrant:
    """The caller of a registration, who may also be nobody."""

    before_body: ClassVar = True

    async def __call__(self, request: Request) -> Caller | None:
        """Return the caller, or None when the request presents no credential.

        Raises:
            Problem: a credential that is presented must be good, and may make keys.
        """
        if {"x-api-key", "authorization"}.isdisjoint(request.headers.keys()):
            return None
        caller = await identify(request)
        caller.need("keys:write")
        return caller


Registering = Annotated[Caller | None, Depends(Registrant())]


async def open_registration(request: Request, caller: Registering) -> AsyncIterator[Tx]:
    """Open the transaction of a registration: its tenant may not be known, or not be there yet.

    An Idempotency-Key belongs to a tenant; of whoever has none it says nothing (decision 70).
    """
    call = None if caller is None else await asked_once(request)
    async with system_transaction(resources_of(request)) as tx:
        await claim(request, tx, call)
        yield tx


open_registration.claims = True  # type: ignore[attr-defined]  # as foundation.request.open_tx
RegistrationTx = Annotated[Tx, Depends(open_registration, scope="function")]
router = api_router("identity")
auth_router = api_router("identity", prefix="/auth")


@auth_router.post(
    "/register",
    status_code=201,
    operation_id="register_key",
    responses=refusals(
        RegistrationClosed, InviteInvalid, ScopeMissing, ScopeEscalation, ApiKeyUnknown,
        TooManyRegistrations, TooManyFailures,
    ),
)  # fmt: skip
async def register_key(
    caller: Registering,
    tx: RegistrationTx,
    request: Request,
    wanted: RegisterRequest,
) -> RegisteredShape:
    """Register a key for oneself; who may is a setting (`closed`, `invite`, `open`). Its text is in this answer alone.

    An admin's credential registers always, into its own tenant; a code into the tenant that invites. An open
    registration gets a tenant of its own. An `Idempotency-Key` counts for an admin's registrations.
    """
    new = NewKey(
        wanted.name,
        expires_in_days=wanted.expires_in_days,
        rate_limit_per_minute=wanted.rate_limit_per_minute,
        rate_limit_per_day=wanted.rate_limit_per_day,
    )
    try:
        key, text = await register.register(tx, resources_of(request), caller, Wish(new, wanted.invite_code))
    except InviteInvalid:
        failures: Failures = request.app.state.failures
        failures.count(peer.current().address)
        raise
    return registered_shape(key, text)


@auth_router.post(
    "/rotate-key",
    status_code=201,
    operation_id="rotate_own_key",
    responses=refusals(NotFound, Conflict),
)
async def rotate_own_key(
    caller: Itself, tx: RequestTx, shared: Shared, wanted: RotateOwnRequest | None = None
) -> RegisteredShape:
    """Replace the calling key by a new one of the same rights; the old one works on for the grace."""
    grace = (wanted or RotateOwnRequest()).grace_seconds
    key = await keys.get_key(tx, caller.tenant.id, _bearer(caller), lock=True)
    fresh, text = await rotate_key.rotate_key(
        tx, shared, caller.actor, key, grace_seconds=grace, renew="keys:write" in caller.scopes
    )
    return registered_shape(fresh, text)


@auth_router.delete("/revoke", operation_id="revoke_own_key", responses=refusals(NotFound))
async def revoke_own_key(caller: Itself, tx: RequestTx, shared: Shared) -> RevokedKeyShape:
    """Revoke the calling key; the next request with it is refused everywhere within a second."""
    key = await keys.revoke_key(tx, caller.tenant.id, _bearer(caller), revoked_by=caller.actor)
    return RevokedKeyShape(
        message="The key is revoked.", key_id=key.id, revoked_at=rfc3339(shared.clock.now())
    )


@router.post("/invites", status_code=201, operation_id="create_invite", responses=refusals(ScopeEscalation))
async def create_invite(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: InviteRequest
) -> NewInviteShape:
    """Make an invitation, with which others register keys of this tenant; its code is in this answer alone."""
    new = NewInvite(wanted.note, wanted.role, asked_scopes(wanted), wanted.max_uses, wanted.expires_in_days)
    if not caller.scopes.issuperset(keys.granted(new.role, new.scopes)):
        raise ScopeEscalation("The invited would have scopes that your key does not have.")
    invite, code = await invites.create_invite(tx, shared.clock, caller.actor, new)
    return NewInviteShape(**invite_shape(invite).model_dump(), code=code)


@router.get("/invites", operation_id="list_invites", response_model=InviteList)
async def list_invites(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the tenant's invitations, newest first, never their codes."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_invites(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda invite: (microseconds(invite.created_at), invite.id.bytes), invite_shape)


@router.get("/invites/{invite_id}", operation_id="get_invite", responses=refusals(NotFound))
async def get_invite(caller: Reader, tx: RequestTx, invite_id: UUID) -> InviteShape:
    """Show one invitation."""
    return invite_shape(await invites.get_invite(tx, caller.tenant.id, invite_id))


@router.delete("/invites/{invite_id}", operation_id="revoke_invite", responses=refusals(NotFound))
async def revoke_invite(caller: Writer, tx: RequestTx, shared: Shared, invite_id: UUID) -> InviteShape:
    """End an invitation; keys registered with it stay. Repeatable."""
    return invite_shape(await invites.revoke_invite(tx, caller.actor, invite_id, shared.clock.now()))


def _bearer(caller: Caller) -> UUID:
    key_id = reach.own_key(caller)
    if key_id is None:
        raise NotFound("The caller bears no API key.")
    return key_id
