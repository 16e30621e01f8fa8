"""Route of previews of changes to an app's rules."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from guardhouse.agents.rules.changing import authorship_of, operations_of, reach_open_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.preview import preview_documents
from guardhouse.events.rule_effect import find_effect
from guardhouse.events.rule_previews.wire import PreviewRequest, RulesPreviewShape, preview_shape
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
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, wanted: PreviewRequest
) -> RulesPreviewShape:
    """Show what operations would come to and would have hit, with the refusals of `rules:apply`."""
    project = await reach_open_project(tx, caller, project_id)
    by = authorship_of(caller, shared, project, wanted.reason, force=wanted.force)
    preview = await preview_documents(tx, project, operations_of(wanted), by)
    hitting = [stored.rule for stored in preview.added if stored.rule.enabled]
    since = by.now - timedelta(hours=wanted.hours)
    effect = await find_effect(tx, (caller.tenant.no, project.no), hitting, since)
    return preview_shape(preview, effect)
