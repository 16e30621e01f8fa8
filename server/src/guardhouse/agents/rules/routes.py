"""Routes of app rules: what agents fetch; list, show, make, change and take out for people."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from guardhouse.agents.instances.note_contact import Contact, note_contact
from guardhouse.agents.instances.sender import Sender, sender_of, version_of
from guardhouse.agents.instances.store import Place as Contacts
from guardhouse.agents.projects.read import reach_project
from guardhouse.agents.resolve_project import ProjectMismatch, UnknownProject, resolve_project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.ask import Asked, find_asker, named_project
from guardhouse.agents.rules.changing import authorship_of, reach_open_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.publish import (
    Add,
    Change,
    Remove,
    apply_operations,
    place_of,
    take_rules_turn,
)
from guardhouse.agents.rules.serve_rules import serve_rules
from guardhouse.agents.rules.store import Place, StoredRule
from guardhouse.agents.rules.waiting import MOST_SECONDS, RuleWaiters, Waiter
from guardhouse.agents.rules.wire import (
    AppRuleList,
    AppRuleQuery,
    AppRuleShape,
    DynamicRulesShape,
    ForcedAppRuleChange,
    ForcedAppRuleRequest,
    NoRulesShape,
    app_rule_shape,
    members_of,
    new_rule_of,
)
from guardhouse.foundation import peer
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, PreconditionRequired, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    StrictRoute,
    api_router,
    resources_of,
    tenant_transaction,
)
from guardhouse.identity.caller import Caller, Require, identify

router = api_router("app-rules")
doors = APIRouter(tags=["telemetry"], route_class=StrictRoute)
Reader = Annotated[Caller, Depends(Require("app_rules:read", "projects:read"))]
Writer = Annotated[Caller, Depends(Require("app_rules:write"))]

FULL_RETRY_SECONDS: Final = 15
_WAIT: Final = "Seconds to wait for a newer version than that of `If-None-Match`."
_NAMED: Final = "Id, slug or external id of a project; without it the key's, else `default`."


@dataclass(frozen=True, slots=True)
class Addressed:
    """A rule by its place: of which project, and which one."""

    project_id: UUID
    rule_id: UUID


class Polling(Require):
    """Identifies an agent that asks again and again: the call counts against no limit of its key."""

    before_body: ClassVar = True

    async def __call__(self, request: Request) -> Caller:
        """Return the caller.

        Raises:
            Problem: as :class:`Require`.
        """
        caller = await identify(request, metered=False)
        caller.need("app_rules:read")
        return caller


@doors.get(
    "/api/v1/rules",
    operation_id="get_dynamic_rules",
    responses={
        200: {
            "model": DynamicRulesShape | NoRulesShape,
            "description": "The document, or `{}` before the first publication.",
        },
        304: {"description": "The agent has it: only for a request with `If-None-Match`."},
        **refusals(ProjectMismatch, UnknownProject),
    },
)
async def get_dynamic_rules(
    caller: Annotated[Caller, Depends(Polling("app_rules:read"))],
    shared: Shared,
    request: Request,
    _project: Annotated[str | None, Header(alias="X-Project-ID", description=_NAMED)] = None,
    _known: Annotated[
        str | None, Header(alias="If-None-Match", description="Of the version at hand.")
    ] = None,
    wait: Annotated[int, Query(ge=0, le=MOST_SECONDS, description=_WAIT)] = 0,
) -> Response:
    """Give an agent the rules of its project: those for everyone, and those for it.

    With `If-None-Match` and `wait` the answer comes as soon as there is a newer version. When too many agents wait
    already, it comes at once, with `Retry-After`.
    """
    sender = sender_of(
        request.headers,
        request.scope["raw_path"].decode("latin-1"),
        credential_id=caller.credential_id,
        address=peer.current().address,
    )
    async with tenant_transaction(shared, caller.tenant) as tx:
        project = await resolve_project(
            tx,
            shared.clock,
            caller.tenant,
            bound=caller.project_id,
            named=named_project(request.headers),
            by=caller.actor,
        )
        installation = sender.installation_in(caller.tenant.id, project.id, shared.peppers[0].value)
        place = place_of(caller.tenant.id, project)
        asker = await find_asker(tx, place, sender, installation)
        asked = Asked(asker, request.headers.get("if-none-match"))
        served = await serve_rules(tx, caller.tenant, project, asked)
        heard = Contacts(caller.tenant, project.no, project.id, shared.clock.now())
        note_contact(tx, heard, _contact(sender, installation, served.revision))
    marks = {"Cache-Control": "private, no-cache"}
    waiters: RuleWaiters = request.app.state.rule_waiters
    if served.text is None and wait and waiters.full:
        marks["Retry-After"] = str(FULL_RETRY_SECONDS)
    elif served.text is None and wait:
        waiter = Waiter(caller.tenant, project, asked, wait, request.is_disconnected)
        served = await waiters.wait(waiter)
    marks["ETag"] = served.etag
    if served.text is None:
        return Response(status_code=304, headers=marks)
    return Response(served.text, media_type="application/json", headers=marks)


@router.post(
    "/projects/{project_id}/rules",
    status_code=201,
    operation_id="create_app_rule",
    responses=refusals(NotFound, Conflict, AppRuleInvalid),
)
async def create_app_rule(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    wanted: ForcedAppRuleRequest,
    response: Response,
) -> AppRuleShape:
    """Make a rule; agents get it with the revision that this publishes."""
    project = await reach_open_project(tx, caller, project_id)
    by = authorship_of(caller, shared, project, wanted.reason, force=wanted.force)
    published = await apply_operations(tx, project, [Add(new_rule_of(wanted))], by)
    made = published.made[0]
    response.headers["ETag"] = etag(made.since)
    return app_rule_shape(made, by.now)


@router.get(
    "/projects/{project_id}/rules",
    operation_id="list_app_rules",
    response_model=AppRuleList,
    responses=refusals(NotFound),
)
async def list_app_rules(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    page: AskedPage,
    project_id: UUID,
    wanted: Annotated[AppRuleQuery, Query()],
) -> dict[str, Any]:
    """List the rules of an app as they stand, in order of making."""
    project = await reach_project(tx, caller, project_id)
    after = None if page.after is None else UUID(bytes=page.after[0])
    place = place_of(caller.tenant.id, project)
    rows = await queries.page_rules(tx, place, wanted.kind, page.limit + 1, after)
    now = shared.clock.now()
    return page.answer(rows, lambda row: (row.id.bytes,), lambda row: app_rule_shape(row, now))


@router.get(
    "/projects/{project_id}/rules/{rule_id}", operation_id="get_app_rule", responses=refusals(NotFound)
)
async def get_app_rule(
    caller: Reader, tx: RequestTx, shared: Shared, project_id: UUID, rule_id: UUID, response: Response
) -> AppRuleShape:
    """Show one rule; its ETag is needed to change it."""
    project = await reach_project(tx, caller, project_id)
    found = await _rule(tx, place_of(caller.tenant.id, project), rule_id)
    response.headers["ETag"] = etag(found.since)
    return app_rule_shape(found, shared.clock.now())


@router.patch(
    "/projects/{project_id}/rules/{rule_id}",
    operation_id="update_app_rule",
    responses=refusals(NotFound, Conflict, AppRuleInvalid, PreconditionFailed, PreconditionRequired),
)
async def update_app_rule(
    caller: Writer,
    tx: RequestTx,
    at: Annotated[Addressed, Depends()],
    change: ForcedAppRuleChange,
    request: Request,
    response: Response,
) -> AppRuleShape:
    """Change a rule, with If-Match, and publish; its kind stays."""
    shared = resources_of(request)
    project = await reach_open_project(tx, caller, at.project_id)
    place = place_of(caller.tenant.id, project)
    await _match(tx, place, at.rule_id, request)
    by = authorship_of(caller, shared, project, change.reason, force=change.force)
    await apply_operations(tx, project, [Change(at.rule_id, members_of(change))], by)
    changed = await _rule(tx, place, at.rule_id)
    response.headers["ETag"] = etag(changed.since)
    return app_rule_shape(changed, by.now)


@router.delete(
    "/projects/{project_id}/rules/{rule_id}",
    status_code=204,
    operation_id="delete_app_rule",
    responses=refusals(NotFound, Conflict, PreconditionFailed, PreconditionRequired),
)
async def delete_app_rule(
    caller: Writer, tx: RequestTx, at: Annotated[Addressed, Depends()], request: Request
) -> Response:
    """Take a rule out, with If-Match, and publish; apps lift its ban at their next call."""
    shared = resources_of(request)
    project = await reach_open_project(tx, caller, at.project_id)
    await _match(tx, place_of(caller.tenant.id, project), at.rule_id, request)
    await apply_operations(
        tx, project, [Remove(at.rule_id)], authorship_of(caller, shared, project, None, force=False)
    )
    return Response(status_code=204)


def _contact(sender: Sender, installation: str, revision: int) -> Contact:
    return Contact(
        installation=installation,
        instance_id=sender.instance_id,
        user_agent=sender.user_agent,
        agent_version=version_of(sender.user_agent),
        remarks=["doubled_path"] if sender.doubled_path else [],
        rules_served=revision,
    )


async def _rule(tx: Tx, place: Place, rule_id: UUID) -> StoredRule:
    found = await queries.find_rule(tx, place, rule_id)
    if found is None:
        raise NotFound("There is no such rule.")
    return found


async def _match(tx: Tx, place: Place, rule_id: UUID, request: Request) -> None:
    """Hold the rules of a project and compare If-Match with what stands now."""
    await take_rules_turn(tx, place)
    check_match(request.headers, (await _rule(tx, place, rule_id)).since, required=True)
