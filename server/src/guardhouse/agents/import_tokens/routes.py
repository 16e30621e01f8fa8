"""Routes of import tokens: make, list, revoke."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response

from guardhouse.agents import enroll_host
from guardhouse.agents.import_tokens import issue, store
from guardhouse.agents.import_tokens.wire import (
    ImportTokenList,
    ImportTokenRequest,
    NewImportTokenShape,
    import_token_shape,
    new_import_token_shape,
)
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("agents")
Reader = Annotated[Caller, Depends(Require("agents:read"))]
Writer = Annotated[Caller, Depends(Require("agents:write"))]


@router.post(
    "/agents/{agent_id}/import-tokens",
    status_code=201,
    operation_id="create_import_token",
    responses=refusals(NotFound),
)
async def create_import_token(
    caller: Writer, tx: RequestTx, shared: Shared, agent_id: str, wanted: ImportTokenRequest
) -> NewImportTokenShape:
    """Make an address that a tool without headers may send to; its text is in this answer, once."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    token, text = await issue.issue_token(tx, shared.clock, caller.actor, agent, wanted.format)
    return new_import_token_shape(token, agent.id, text, shared.settings.public_url)


@router.get(
    "/agents/{agent_id}/import-tokens",
    operation_id="list_import_tokens",
    response_model=ImportTokenList,
    responses=refusals(NotFound),
)
async def list_import_tokens(caller: Reader, tx: RequestTx, page: AskedPage, agent_id: str) -> dict[str, Any]:
    """List the import tokens of an agent that are good, in order of making."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_tokens(tx, caller.tenant.id, agent.no, page.limit + 1, after)
    return page.answer(
        rows,
        lambda token: (microseconds(token.created_at), token.id.bytes),
        lambda token: import_token_shape(token, agent.id),
    )


@router.delete(
    "/agents/{agent_id}/import-tokens/{token_id}",
    status_code=204,
    operation_id="revoke_import_token",
    responses=refusals(NotFound),
)
async def revoke_import_token(
    caller: Writer, tx: RequestTx, shared: Shared, agent_id: str, token_id: UUID
) -> Response:
    """End an import token now; what came in with it stays."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    await issue.revoke_token(tx, shared.clock, caller.actor, agent, token_id)
    return Response(status_code=204)
