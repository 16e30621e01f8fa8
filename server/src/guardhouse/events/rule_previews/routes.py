"""Route of previews of changes to an app's rules."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from guardhouse.agents.rules.changing import authorship_of, operations_of, reach_open_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.preview import preview_documents
from guardhouse.agents.rules.wire import OperationsRequest
from guardhouse.events.rule_previews.wire import RulesPreviewShape, preview_members
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("app-rules")
Writer = Annotated[Caller, Depends(Require("app_rules:write"))]


@router.post(
    "/projects/{project_id}/rules:preview",
    operation_id="preview_app_rules",
    responses=refusals(NotFound, Conflict, AppRuleInvalid),
)
async def preview_app_rules(
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, wanted: OperationsRequest
) -> RulesPreviewShape:
    """Show what operations would come to, with the same body and the same refusals as `rules:apply`."""
    project = await reach_open_project(tx, caller, project_id)
    by = authorship_of(caller, shared, project, wanted.reason, force=wanted.force)
    preview = await preview_documents(tx, project, operations_of(wanted), by)
    return RulesPreviewShape(**preview_members(preview))
