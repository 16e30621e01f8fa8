"""Routes of revisions: several changes as one, the list of them, one whole, the way back; and one process's rules."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from guardhouse.agents.instances import look
from guardhouse.agents.instances.fold import fold
from guardhouse.agents.projects.read import reach_project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.changing import authorship_of, operations_of, reach_open_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.history.adoption import adoption_of
from guardhouse.agents.rules.history.effective import effective_rules
from guardhouse.agents.rules.history.restore_revision import restore_revision
from guardhouse.agents.rules.history.wire import (
    EffectiveRules,
    PublishedShape,
    RestoreRequest,
    RevisionDetail,
    RevisionList,
    revision_detail,
    revision_shape,
)
from guardhouse.agents.rules.publish import Published, apply_operations, place_of, take_rules_turn
from guardhouse.agents.rules.wire import OperationsRequest, app_rule_shape
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("app-rules")
Reader = Annotated[Caller, Depends(Require("app_rules:read", "projects:read"))]
Writer = Annotated[Caller, Depends(Require("app_rules:write"))]
Number = Annotated[int, Path(ge=1, le=2**62, description="The revision.")]


@router.post(
    "/projects/{project_id}/rules:apply",
    operation_id="apply_app_rules",
    responses=refusals(NotFound, Conflict, AppRuleInvalid, PreconditionFailed),
)
async def apply_app_rules(
    caller: Writer,
    tx: RequestTx,
    project_id: UUID,
    wanted: OperationsRequest,
    request: Request,
    response: Response,
) -> PublishedShape:
    """Change several rules as one revision, all or none; `If-Match` may name the revision that this starts from."""
    shared = resources_of(request)
    project = await reach_open_project(tx, caller, project_id)
    place = place_of(caller.tenant.id, project)
    await take_rules_turn(tx, place)
    newest = await queries.get_newest(tx, place)
    check_match(request.headers, newest.number if newest else 0)
    by = authorship_of(caller, shared, project, wanted.reason, force=wanted.force)
    published = await apply_operations(tx, project, operations_of(wanted), by)
    response.headers["ETag"] = etag(published.revision.number)
    return _published(published)


@router.get(
    "/projects/{project_id}/rules/revisions",
    operation_id="list_rule_revisions",
    response_model=RevisionList,
    responses=refusals(NotFound),
)
async def list_rule_revisions(
    caller: Reader, tx: RequestTx, page: AskedPage, project_id: UUID
) -> dict[str, Any]:
    """List the revisions of an app's rules, the newest first."""
    project = await reach_project(tx, caller, project_id)
    before = None if page.after is None else page.after[0]
    rows = await queries.list_revisions(tx, place_of(caller.tenant.id, project), page.limit + 1, before)
    return page.answer(rows, lambda row: (row.number,), revision_shape)


@router.get(
    "/projects/{project_id}/rules/effective",
    operation_id="get_effective_rules",
    responses=refusals(NotFound),
)
async def get_effective_rules(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    instance: Annotated[
        UUID | None,
        Query(
            description="A process, as `GET /projects/{project_id}/instances` lists it; without: any new one."
        ),
    ] = None,
) -> EffectiveRules:
    """Show what one process would get now, what it got last, and what it says that it applied."""
    project = await reach_project(tx, caller, project_id)
    found = None
    if instance is not None:
        now = shared.clock.now()
        await fold(tx, await look.place_of(tx, caller, project_id, now))  # it may have asked a moment ago
        found, _ = await look.get_instance(tx, caller, instance, now)
    return await effective_rules(tx, caller.tenant.id, project, found)


@router.get(
    "/projects/{project_id}/rules/revisions/{revision}",
    operation_id="get_rule_revision",
    responses=refusals(NotFound),
)
async def get_rule_revision(
    caller: Reader, tx: RequestTx, shared: Shared, project_id: UUID, revision: Number
) -> RevisionDetail:
    """Show a revision: what it changed, its documents, and which processes have it."""
    place = place_of(caller.tenant.id, await reach_project(tx, caller, project_id))
    found = await queries.get_revision(tx, place, revision)
    if found is None:
        raise NotFound("There is no such revision.")
    return revision_detail(
        found,
        await queries.list_changes(tx, place, revision),
        await queries.list_documents(tx, place, revision),
        await adoption_of(tx, place, found, shared.clock.now()),
    )


@router.post(
    "/projects/{project_id}/rules/revisions/{revision}/restore",
    operation_id="restore_rule_revision",
    responses=refusals(NotFound, Conflict, AppRuleInvalid),
)
async def restore_rule_revision(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    revision: Number,
    wanted: RestoreRequest | None = None,
) -> PublishedShape:
    """Go back to the rules of a revision, as a new one; what is over by now stays over."""
    project = await reach_open_project(tx, caller, project_id)
    asked = wanted or RestoreRequest()
    by = authorship_of(caller, shared, project, asked.reason, force=asked.force)
    return _published(await restore_revision(tx, project, revision, by))


def _published(published: Published) -> PublishedShape:
    at = published.revision.published_at
    return PublishedShape(
        revision=revision_shape(published.revision),
        added=[app_rule_shape(rule, at) for rule in published.added],
        ended=[app_rule_shape(rule, at) for rule in published.ended],
    )
