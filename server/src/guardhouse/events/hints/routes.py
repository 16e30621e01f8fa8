"""The route of hints."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel, Field

from guardhouse.agents.projects.read import reach_project
from guardhouse.events.hints.find_hints import find_hints
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("projects")
Reader = Annotated[Caller, Depends(Require("projects:read"))]


class HintShape(BaseModel):
    """A setting of the app that looks wrong."""

    code: Annotated[str, Field(description="`trusted_proxies`.")]
    share: Annotated[float, Field(description="Which part of the events shows it, 0 to 1.")]
    text: str


class HintList(BaseModel):
    """What the newest events of a project say about how its app is set up."""

    since: Annotated[str, Field(description="Events from then on were looked at, 24 hours at most.")]
    events: int
    hints: list[HintShape]


@router.get("/projects/{project_id}/hints", operation_id="get_project_hints", responses=refusals(NotFound))
async def get_project_hints(caller: Reader, tx: RequestTx, shared: Shared, project_id: UUID) -> HintList:
    """Say which settings of the app its own events show to be wrong, and what to do."""
    project = await reach_project(tx, caller, project_id)
    found = await find_hints(tx, caller.tenant, project, shared.clock.now())
    return HintList(
        since=rfc3339(found.since),
        events=found.events,
        hints=[HintShape(code=hint.code, share=hint.share, text=hint.text) for hint in found.found],
    )
