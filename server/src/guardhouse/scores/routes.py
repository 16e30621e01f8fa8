"""Routes of process risk: processes, trees, scores."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Response

from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound, ValidationFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores import find
from guardhouse.scores.queries import ProcessFilter, ProcessRow, ScoreFilter, StoredScore
from guardhouse.scores.wire import (
    ProcessDetail,
    ProcessList,
    ProcessQuery,
    ScoreList,
    ScoreQuery,
    ScoreShape,
    TreeQuery,
    TreeShape,
    process_detail,
    process_shape,
    score_shape,
    tree_shape,
)

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
Writer = Annotated[Caller, Depends(Require("scores:write"))]


@router.get("/processes", operation_id="list_processes", response_model=ProcessList)
async def list_processes(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[ProcessQuery, Query()]
) -> dict[str, Any]:
    """List processes, most recently seen or riskiest first."""
    _check_order(wanted)
    shown = ProcessFilter(
        agent_id=wanted.agent_id,
        pid=wanted.pid,
        exe_prefix=wanted.exe,
        band=wanted.band,
        tree_band=wanted.tree_band,
        risk_min=_hundredths(wanted.risk_min),
        risk_max=_hundredths(wanted.risk_max),
        alive=wanted.alive,
        since=wanted.since,
        until=wanted.until,
    )
    after = page.after
    if after is not None and wanted.sort == "last_seen":
        after = [from_microseconds(after[0]), *after[1:]]
    rows = await find.list_processes(tx, caller.tenant, shown, wanted.sort, page.limit + 1, after)

    def place(row: ProcessRow) -> tuple[int, int, str]:
        first = microseconds(row.last_seen) if wanted.sort == "last_seen" else row.risk
        return first, row.agent_no, row.key

    return page.answer(rows, place, process_shape)


@router.get("/processes/{process_id}", operation_id="get_process", responses=refusals(NotFound))
async def get_process(caller: Reader, tx: RequestTx, response: Response, process_id: str) -> ProcessDetail:
    """Show a process, its numbers, and the contributions that sum to them."""
    found = await find.explain_process(tx, caller.tenant, process_id)
    if found.process.process_id != process_id:  # the short form stands for the newest of several
        response.headers["Content-Location"] = f"/api/v1/processes/{found.process.process_id}"
    return process_detail(found)


@router.get("/processes/{process_id}/tree", operation_id="get_process_tree", responses=refusals(NotFound))
async def get_process_tree(
    caller: Reader, tx: RequestTx, process_id: str, wanted: Annotated[TreeQuery, Query()]
) -> TreeShape:
    """Show the tree that a process belongs to, with the evidence of the whole tree."""
    found = await find.explain_process(tx, caller.tenant, process_id)
    rows, cut = await find.list_tree(tx, caller.tenant, process_id, wanted.depth, wanted.limit)
    return tree_shape(found, rows, cut=cut)


@router.get("/scores", operation_id="list_scores", response_model=ScoreList)
async def list_scores(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[ScoreQuery, Query()]
) -> dict[str, Any]:
    """List scores, newest first: one per process as of its last event, or every row (`view=history`)."""
    _check_order(wanted)
    shown = ScoreFilter(
        latest=wanted.view == "latest",
        process_id=wanted.process_id,
        agent_id=wanted.agent_id,
        by=wanted.by,
        low=_hundredths(wanted.risk_min),
        high=_hundredths(wanted.risk_max),
        band=wanted.band,
        since=wanted.since,
        until=wanted.until,
    )
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await find.list_scores(tx, caller.tenant, shown, page.limit + 1, after)
    return page.answer(rows, _place, score_shape)


@router.get("/scores/{score_id}", operation_id="get_score", responses=refusals(NotFound))
async def get_score(caller: Reader, tx: RequestTx, score_id: UUID) -> ScoreShape:
    """Show one score row."""
    return score_shape(await find.get_score(tx, caller.tenant, score_id))


def _place(score: StoredScore) -> tuple[int, bytes]:
    return microseconds(score.calculated_at), score.score_id.bytes


def _hundredths(percent: float | None) -> int | None:
    return None if percent is None else round(percent * 100)


def _check_order(wanted: ProcessQuery | ScoreQuery) -> None:
    if wanted.risk_min is not None and wanted.risk_max is not None and wanted.risk_min > wanted.risk_max:
        raise ValidationFailed(
            "risk_min is above risk_max.",
            errors=[{"parameter": "risk_min", "code": "order", "detail": "must not be above risk_max"}],
        )
    wanted.check_order()
