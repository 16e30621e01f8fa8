"""Routes of identity: who am I, and API keys."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends

from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound, ValidationFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity import keys, tenants
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.roles import SCOPES
from guardhouse.identity.wire import (
    CallerShape,
    KeyList,
    KeyRequest,
    KeyShape,
    NewKeyShape,
    caller_shape,
    key_shape,
)

router = api_router("identity")


@router.get("/me", operation_id="get_me")
async def get_me(caller: Annotated[Caller, Depends(Require(None))]) -> CallerShape:
    """Show who the credential belongs to and what it may do."""
    return caller_shape(caller)


@router.post("/keys", status_code=201, operation_id="create_key", responses=refusals(ScopeEscalation))
async def create_key(
    caller: Annotated[Caller, Depends(Require("keys:write"))],
    tx: RequestTx,
    shared: Shared,
    wanted: KeyRequest,
) -> NewKeyShape:
    """Make an API key; its text is in this answer and nowhere else."""
    scopes = None if wanted.scopes is None else tuple(wanted.scopes)
    unknown = sorted(set(scopes or ()) - SCOPES)
    if unknown:
        raise ValidationFailed(
            "There are unknown scopes.",
            errors=[{"pointer": "/scopes", "code": "unknown", "detail": name} for name in unknown],
        )
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound
    key, text = await keys.create_key(
        tx,
        shared.clock,
        shared.peppers[0],
        tenant,
        NewKey(wanted.name, wanted.role, scopes, caller.project_id, wanted.env, wanted.expires_in_days),
        created_by=caller.credential_id,
    )
    if not caller.scopes.issuperset(key.scopes):
        raise ScopeEscalation("The new key would have scopes that yours does not have.")
    return NewKeyShape(**key_shape(key).model_dump(), api_key=text)


@router.get("/keys", operation_id="list_keys", response_model=KeyList)
async def list_keys(
    caller: Annotated[Caller, Depends(Require("keys:read"))], tx: RequestTx, page: AskedPage
) -> dict[str, Any]:
    """List the tenant's keys, newest first, never their text."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await keys.list_keys(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda key: (microseconds(key.created_at), key.id.bytes), key_shape)


@router.get("/keys/{key_id}", operation_id="get_key", responses=refusals(NotFound))
async def get_key(
    caller: Annotated[Caller, Depends(Require("keys:read"))], tx: RequestTx, key_id: UUID
) -> KeyShape:
    """Show one key."""
    return key_shape(await keys.get_key(tx, caller.tenant.id, key_id))


@router.delete("/keys/{key_id}", operation_id="revoke_key", responses=refusals(NotFound))
@router.post(
    "/keys/{key_id}/revoke",
    operation_id="revoke_key_by_action",
    include_in_schema=False,
    responses=refusals(NotFound),
)
async def revoke_key(
    caller: Annotated[Caller, Depends(Require("keys:write"))], tx: RequestTx, key_id: UUID
) -> KeyShape:
    """Revoke a key; holds everywhere within a second, repeatable."""
    return key_shape(await keys.revoke_key(tx, caller.tenant.id, key_id, revoked_by=caller.credential_id))
