"""Routes of incidents of process risk: list, story, close."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores import find
from guardhouse.scores.incidents import close, queries
from guardhouse.scores.incidents.queries import IncidentFilter, IncidentRow
from guardhouse.scores.incidents.story import tell_story
from guardhouse.scores.incidents.wire import (
    CloseRequest,
    IncidentDetail,
    IncidentList,
    IncidentQuery,
    incident_detail,
    incident_shape,
)

router = api_router("incidents")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
Writer = Annotated[Caller, Depends(Require("scores:write"))]


@router.get("/risk/incidents", operation_id="list_incidents", response_model=IncidentList)
async def list_incidents(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[IncidentQuery, Query()]
) -> dict[str, Any]:
    """List incidents of process risk, the last opened first."""
    wanted.check_order()
    agent_no = root_key = None
    if wanted.process is not None:
        try:
            process = await find.get_process(tx, caller.tenant, wanted.process)
        except NotFound:
            return page.answer([], _place, incident_shape)
        agent_no, root_key = process.agent_no, process.root_key
    shown = IncidentFilter(
        status=wanted.status,
        band=wanted.band,
        agent_id=wanted.agent_id,
        agent_no=agent_no,
        root_key=root_key,
        since=wanted.since,
        until=wanted.until,
    )
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await queries.list_incidents(tx, caller.tenant.no, shown, page.limit + 1, after)
    return page.answer(rows, _place, incident_shape)


@router.get("/risk/incidents/{incident_id}", operation_id="get_incident", responses=refusals(NotFound))
async def get_incident(caller: Reader, tx: RequestTx, incident_id: UUID) -> IncidentDetail:
    """Show an incident with its story: processes, evidence, the events cited, notices sent, its end."""
    return incident_detail(await tell_story(tx, caller.tenant, incident_id))


@router.post(
    "/risk/incidents/{incident_id}/close", operation_id="close_incident", responses=refusals(NotFound)
)
async def close_incident(
    caller: Writer, tx: RequestTx, shared: Shared, incident_id: UUID, wanted: CloseRequest | None = None
) -> IncidentDetail:
    """Close an incident; what comes later on its tree opens another one. One that is closed stays as it is."""
    reason = None if wanted is None else wanted.reason
    await close.close_incident(tx, caller.tenant, caller.actor, incident_id, reason, shared.clock.now())
    return incident_detail(await tell_story(tx, caller.tenant, incident_id))


def _place(row: IncidentRow) -> tuple[int, bytes]:
    return microseconds(row.incident.opened_at), row.incident.id.bytes
