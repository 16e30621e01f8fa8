"""Routes of recalculations."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Response
from fastapi.responses import JSONResponse

from guardhouse.audit.record import Entry, record
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.jobs import enqueue
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores import find
from guardhouse.scores.recalculations import a_range, one_process, store
from guardhouse.scores.recalculations.a_range import How
from guardhouse.scores.recalculations.jobs import RecalculationWork, run_recalculation
from guardhouse.scores.recalculations.replay import EventsExpired
from guardhouse.scores.recalculations.store import AskedJob
from guardhouse.scores.recalculations.wire import (
    RecalculatedShape,
    RecalculateRequest,
    RecalculationJobShape,
    RecalculationList,
    job_shape,
    recalculated_shape,
)

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
Writer = Annotated[Caller, Depends(Require("scores:write"))]


@router.post(
    "/scores:recalculate",
    operation_id="recalculate_score",
    response_model=RecalculatedShape,
    responses={
        202: {"model": RecalculationJobShape, "description": "A job does it; ask for it under Location."},
        **refusals(NotFound, EventsExpired),
    },
)
async def recalculate_score(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: RecalculateRequest
) -> RecalculatedShape | Response:
    """Compute numbers anew from the stored events and say whether they are what is stored.

    One process is answered at once. A range of an agent's time, and an agent with more than 100,000 events, is left
    to a job.
    """
    how = How(wanted.mode, wanted.dry_run)
    if wanted.process_id is not None:
        row = await find.get_process(tx, caller.tenant, wanted.process_id)
        done = await one_process.recalculate(tx, caller.tenant, row, how.mode, dry_run=how.dry_run)
        if done is None:
            return await _begin(tx, caller, await a_range.ask_for_process(tx, caller, shared.clock, row, how))
        after = {"mode": done.mode, "equal": done.equal, "events": done.events}
        await record(tx, caller.actor, Entry("score.recalculate", f"process:{done.process_id}", after=after))
        return recalculated_shape(done)
    agent_id, span = wanted.ranged
    asked = await a_range.ask_for_range(tx, caller, shared.clock, agent_id, span, how)
    return await _begin(tx, caller, asked)


@router.get("/scores/recalculations", operation_id="list_recalculations", response_model=RecalculationList)
async def list_recalculations(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List recalculations that run or ran as jobs, the newest first; kept for 30 days."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await store.list_asked(tx, caller.tenant.no, page.limit + 1, after)
    return page.answer(rows, lambda asked: (microseconds(asked.created_at), asked.id.bytes), job_shape)


@router.get(
    "/scores/recalculations/{recalculation_id}",
    operation_id="get_recalculation",
    responses=refusals(NotFound),
)
async def get_recalculation(caller: Reader, tx: RequestTx, recalculation_id: UUID) -> RecalculationJobShape:
    """Show how far a recalculation is, and what it came to."""
    return job_shape(await a_range.get(tx, caller, recalculation_id))


async def _begin(tx: RequestTx, caller: Caller, asked: AskedJob) -> Response:
    await enqueue(tx, run_recalculation, RecalculationWork(asked.id))
    after = {"mode": asked.mode, "dry_run": asked.dry_run, "recalculation": str(asked.id)}
    await record(tx, caller.actor, Entry("score.recalculate", f"agent:{asked.agent_id}", after=after))
    where = {"Location": f"/api/v1/scores/recalculations/{asked.id}"}
    return JSONResponse(job_shape(asked).model_dump(mode="json"), 202, headers=where)
