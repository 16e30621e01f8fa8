"""Routes of API keys, and of who am I. A key without `keys:read` or `keys:write` sees, rotates and ends itself only."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.identity import change_key as changing
from guardhouse.identity import keys, reach, revoke_all, tenants, verify_key
from guardhouse.identity import rotate_key as rotation
from guardhouse.identity.addresses import parse_networks
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.roles import SCOPES
from guardhouse.identity.store import ApiKey, KeyFilter
from guardhouse.identity.wire import (
    CallerShape,
    KeyChange,
    KeyList,
    KeyQuery,
    KeyRequest,
    KeyRotation,
    KeyShape,
    NewKeyShape,
    RevokeAllRequest,
    RevokedShape,
    VerifiedShape,
    VerifyRequest,
    caller_shape,
    key_shape,
    new_key_shape,
    verified_shape,
)

router = api_router("identity")
Me = Annotated[Caller, Depends(Require(None))]
Reader = Annotated[Caller, Depends(Require("keys:read"))]
Writer = Annotated[Caller, Depends(Require("keys:write"))]
ReaderOrItself = Annotated[Caller, Depends(Require("keys:read", "keys:own"))]
WriterOrItself = Annotated[Caller, Depends(Require("keys:write", "keys:own"))]


@router.get("/me", operation_id="get_me")
async def get_me(caller: Me) -> CallerShape:
    """Show who the credential belongs to and what it may do."""
    return caller_shape(caller)


@router.post("/keys", status_code=201, operation_id="create_key", responses=refusals(ScopeEscalation))
async def create_key(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: KeyRequest, response: Response
) -> NewKeyShape:
    """Make an API key; its text is in this answer alone. A key of env test acts in the tenant's test twin."""
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    new = _new_key(caller, wanted)
    if not caller.scopes.issuperset(keys.granted(new.role, new.scopes)):
        raise ScopeEscalation("The new key would have scopes that yours does not have.")
    key, text = await keys.create_key(
        tx, shared.clock, shared.peppers[0], tenant, new, created_by=caller.actor
    )
    response.headers["ETag"] = etag(key.version)
    response.headers["Location"] = f"/api/v1/keys/{key.id}"
    return new_key_shape(key, text, shared.clock.now())


@router.get("/keys", operation_id="list_keys", response_model=KeyList)
async def list_keys(
    caller: ReaderOrItself,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    wanted: Annotated[KeyQuery, Query()],
) -> dict[str, Any]:
    """List the tenant's keys, newest first, never their text; `env=test` lists those of its test twin."""
    now = shared.clock.now()
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    itself = None if "keys:read" in caller.scopes else reach.own_key(caller)
    asked = KeyFilter(now, wanted.state, wanted.role, wanted.project_id, itself)
    rows: list[ApiKey] = []
    async with reach.tenant_of_env(tx, caller, wanted.env) as tenant:
        if tenant is not None:
            rows = await keys.list_keys(tx, tenant.id, page.limit + 1, after, asked)
    return page.answer(
        rows, lambda key: (microseconds(key.created_at), key.id.bytes), lambda key: key_shape(key, now)
    )


@router.post("/keys/revoke-all", operation_id="revoke_all_keys")
async def revoke_all_keys(
    caller: Writer, tx: RequestTx, wanted: RevokeAllRequest | None = None
) -> RevokedShape:
    """Revoke every key of the tenant, but for the calling one unless told otherwise. Its test twin's keys stay."""
    spared = reach.own_key(caller) if (wanted or RevokeAllRequest()).except_current else None
    revoked = await revoke_all.revoke_all(tx, caller.tenant.id, spared, revoked_by=caller.actor)
    return RevokedShape(revoked=[key.id for key in revoked])


@router.post("/keys/verify", operation_id="verify_key")
async def verify(caller: Reader, tx: RequestTx, shared: Shared, wanted: VerifyRequest) -> VerifiedShape:
    """Tell whether a key of the tenant is good, for gateways in front; a key of another tenant is unknown."""
    return verified_shape(await verify_key.verify_key(tx, shared, caller.tenant.id, wanted.key))


@router.get("/keys/{key_id}", operation_id="get_key", responses=refusals(NotFound))
async def get_key(
    caller: ReaderOrItself, tx: RequestTx, shared: Shared, key_id: UUID, response: Response
) -> KeyShape:
    """Show one key."""
    async with reach.key(tx, caller, key_id, "keys:read") as key:
        response.headers["ETag"] = etag(key.version)
        return key_shape(key, shared.clock.now())


@router.patch(
    "/keys/{key_id}",
    operation_id="update_key",
    responses=refusals(NotFound, Conflict, ScopeEscalation, PreconditionFailed),
)
async def update_key(
    caller: Writer, tx: RequestTx, key_id: UUID, change: KeyChange, request: Request, response: Response
) -> KeyShape:
    """Change a key's name, limits, networks or state, or take scopes away. If-Match guards against lost edits."""
    now = resources_of(request).clock.now()
    changes = {name: value for name, value in change.model_dump().items() if value is not None}
    if "ip_allow" in changes:
        changes["ip_allow"] = parse_networks(changes["ip_allow"])
    if "scopes" in changes:
        changes["scopes"] = tuple(sorted(set(changes["scopes"])))
    async with reach.key(tx, caller, key_id, "keys:write", lock=True) as key:
        check_match(request.headers, key.version)
        changed = await changing.change_key(tx, caller.actor, key, changes, now)
    response.headers["ETag"] = etag(changed.version)
    return key_shape(changed, now)


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    operation_id="rotate_key",
    responses=refusals(NotFound, Conflict, ScopeEscalation),
)
async def rotate_key(
    caller: WriterOrItself, tx: RequestTx, shared: Shared, key_id: UUID, wanted: KeyRotation | None = None
) -> NewKeyShape:
    """Replace a key by a new one of the same rights, whose text is in this answer; the old one ends after the grace.

    Until then its answers carry `Guardhouse-Key-Expires`. A key that rotates itself keeps its end; one that an
    admin rotates lives as long again as it was made for.
    """
    grace = (wanted or KeyRotation()).grace_seconds
    async with reach.key(tx, caller, key_id, "keys:write", lock=True) as key:
        if not caller.scopes.issuperset(key.scopes):
            raise ScopeEscalation("The key has scopes that yours does not have.")
        renew = "keys:write" in caller.scopes
        fresh, text = await rotation.rotate_key(
            tx, shared, caller.actor, key, grace_seconds=grace, renew=renew
        )
    return new_key_shape(fresh, text, shared.clock.now())


@router.delete("/keys/{key_id}", operation_id="revoke_key", responses=refusals(NotFound))
@router.post(
    "/keys/{key_id}/revoke",
    operation_id="revoke_key_by_action",
    include_in_schema=False,
    responses=refusals(NotFound),
)
async def revoke_key(caller: WriterOrItself, tx: RequestTx, shared: Shared, key_id: UUID) -> KeyShape:
    """Revoke a key; holds everywhere within a second, repeatable."""
    async with reach.key(tx, caller, key_id, "keys:write") as key:
        revoked = await keys.revoke_key(tx, key.tenant.id, key.id, revoked_by=caller.actor)
    return key_shape(revoked, shared.clock.now())


def _new_key(caller: Caller, wanted: KeyRequest) -> NewKey:
    scopes = None if wanted.scopes is None else tuple(wanted.scopes)
    unknown = sorted(set(scopes or ()) - SCOPES)
    if unknown:
        raise ValidationFailed(
            "There are unknown scopes.",
            errors=[{"pointer": "/scopes", "code": "unknown", "detail": name} for name in unknown],
        )
    if caller.project_id is not None and wanted.project_id not in {None, caller.project_id}:
        raise ScopeEscalation("Your key is bound to another project.")
    if caller.env == "test" and wanted.env == "live":
        raise ScopeEscalation("A test key makes test keys only.")
    return NewKey(
        name=wanted.name,
        role=wanted.role,
        scopes=scopes,
        project_id=caller.project_id or wanted.project_id,
        env=wanted.env or caller.env,
        expires_in_days=wanted.expires_in_days,
        rate_limit_per_minute=wanted.rate_limit_per_minute,
        rate_limit_per_day=wanted.rate_limit_per_day,
        ip_allow=parse_networks(wanted.ip_allow),
    )
