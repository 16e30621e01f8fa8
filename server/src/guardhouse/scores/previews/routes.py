"""Routes of previews: ask for one, look at it."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.jobs import enqueue
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores.previews import preview
from guardhouse.scores.previews.jobs import PreviewWork, run_preview
from guardhouse.scores.previews.wire import PreviewRequest, PreviewShape, asked_of, preview_shape
from guardhouse.scores.rules.save_rule import RuleInvalid

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
Asker = Annotated[Caller, Depends(Require("scores:write", "risk:write"))]


@router.post(
    "/scores:preview",
    status_code=202,
    operation_id="create_score_preview",
    responses=refusals(Conflict, NotFound, RuleInvalid),
)
async def create_score_preview(
    caller: Asker, tx: RequestTx, shared: Shared, wanted: PreviewRequest, response: Response
) -> PreviewShape:
    """Try a rule or an override out on up to 14 days that are stored: which incidents would appear or vanish.

    Nothing is saved. The answer is a preview that runs; `Location` says where to look for its result.
    """
    made = await preview.begin(tx, caller, asked_of(wanted), shared.clock)
    await enqueue(tx, run_preview, PreviewWork(made.tenant_no, made.id))
    response.headers["Location"] = f"/api/v1/scores/previews/{made.id}"
    return preview_shape(made)


@router.get("/scores/previews/{preview_id}", operation_id="get_score_preview", responses=refusals(NotFound))
async def get_score_preview(caller: Reader, tx: RequestTx, preview_id: UUID) -> PreviewShape:
    """Show a preview and, once it is done, what it found."""
    return preview_shape(await preview.get(tx, caller.tenant.no, preview_id))
