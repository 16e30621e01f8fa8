"""Routes of verdict heads: list, switch."""

from typing import Annotated, Any

from fastapi import Depends, Path

from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores.heads import store
from guardhouse.scores.heads.switch import switch_head
from guardhouse.scores.heads.wire import HeadChange, HeadList, HeadShape, head_shape

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
RiskWriter = Annotated[Caller, Depends(Require("risk:write"))]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/risk/heads", operation_id="list_risk_heads", response_model=HeadList)
async def list_risk_heads(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the verdict heads trained from what people confirmed here, newest first."""
    rows = await store.list_heads(tx, caller.tenant.no, page.limit + 1, page.after)
    return page.answer(rows, lambda head: (head.version,), head_shape)


@router.patch(
    "/risk/heads/{version}", operation_id="update_risk_head", responses=refusals(NotFound, Conflict)
)
async def update_risk_head(
    caller: RiskWriter, tx: RequestTx, shared: Shared, version: Version, wanted: HeadChange
) -> HeadShape:
    """Switch a verdict head off, or on again in the place of the one that is on; from each agent's next event on."""
    by = (caller.actor, shared.clock.now())
    return head_shape(await switch_head(tx, caller.tenant, version, wanted.state, by))
