"""Routes of verdicts on processes."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response

from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores import find
from guardhouse.scores.answers import store
from guardhouse.scores.verdicts import give
from guardhouse.scores.verdicts.wire import VerdictList, VerdictRequest, VerdictShape, verdict_shape

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
Writer = Annotated[Caller, Depends(Require("scores:write"))]


@router.post(
    "/processes/{process_id}/verdict",
    status_code=201,
    operation_id="give_verdict",
    responses=refusals(NotFound, Conflict),
)
async def give_verdict(
    caller: Writer, tx: RequestTx, shared: Shared, process_id: str, wanted: VerdictRequest
) -> VerdictShape:
    """Say what a process was; replaces what the same person said of it before.

    What was expected counts nothing from the next event on, a false alarm counts less each time; both are shown
    as suppressed, with why.
    """
    said = give.Saying(wanted.verdict, wanted.evidence, wanted.note)
    row, made = await give.give(tx, caller.tenant, process_id, said, (caller.actor, shared.clock))
    return verdict_shape(made, row.process_id)


@router.get(
    "/processes/{process_id}/verdicts",
    operation_id="list_verdicts",
    response_model=VerdictList,
    responses=refusals(NotFound),
)
async def list_verdicts(caller: Reader, tx: RequestTx, page: AskedPage, process_id: str) -> dict[str, Any]:
    """List what people have said of a process, newest first, ended ones too."""
    row = await find.get_process(tx, caller.tenant, process_id)
    place = (row.agent_no, row.key)
    rows = await store.list_of_process(tx, caller.tenant.no, place, page.limit + 1, page.after)
    return page.answer(
        rows,
        lambda verdict: (verdict.verdict_id.bytes,),
        lambda verdict: verdict_shape(verdict, row.process_id),
    )


@router.delete(
    "/processes/{process_id}/verdicts/{verdict_id}",
    status_code=204,
    operation_id="withdraw_verdict",
    responses=refusals(NotFound),
)
async def withdraw_verdict(
    caller: Writer, tx: RequestTx, shared: Shared, process_id: str, verdict_id: UUID
) -> Response:
    """Take a verdict back, whoever gave it; the evidence counts again from the next event on."""
    await give.withdraw(tx, caller.tenant, process_id, verdict_id, (caller.actor, shared.clock))
    return Response(status_code=204)
