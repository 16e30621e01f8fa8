"""Routes of protected texts: make, list, delete."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.detections.protected_texts import store
from guardhouse.detections.protected_texts.protect import ProtectedTextTooShort, protect, unprotect
from guardhouse.detections.protected_texts.wire import (
    ProtectedTextList,
    ProtectedTextRequest,
    ProtectedTextShape,
    protected_text_shape,
)
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("policies:read", "policies:write"))]
Writer = Annotated[Caller, Depends(Require("policies:write"))]


@router.post(
    "/protected-texts",
    status_code=201,
    operation_id="create_protected_text",
    responses=refusals(Conflict, ProtectedTextTooShort),
)
async def create_protected_text(
    caller: Writer, tx: RequestTx, request: Request, wanted: ProtectedTextRequest
) -> ProtectedTextShape:
    """Protect a system prompt or another text from being repeated in answers; only keyed hashes of it are kept."""
    made = await protect(tx, resources_of(request), caller, wanted.label, wanted.text)
    return protected_text_shape(made)


@router.get("/protected-texts", operation_id="list_protected_texts", response_model=ProtectedTextList)
async def list_protected_texts(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the protected texts in order of making."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_texts(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (microseconds(row.created_at), row.id.bytes), protected_text_shape)


@router.delete(
    "/protected-texts/{protected_text_id}",
    status_code=204,
    operation_id="delete_protected_text",
    responses=refusals(NotFound),
)
async def delete_protected_text(caller: Writer, tx: RequestTx, protected_text_id: UUID) -> Response:
    """Protect a text no more."""
    await unprotect(tx, caller, protected_text_id)
    return Response(status_code=204)
