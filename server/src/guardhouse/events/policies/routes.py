"""Routes of policies: make, list, show, change, take out, try out; what they did, and proposals to decide on."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from guardhouse.agents.projects.read import Project, reach_project
from guardhouse.agents.rules.check_rule import AppRuleInvalid
from guardhouse.agents.rules.publish import Authorship, guarded_of
from guardhouse.events.policies import change_policy as changing
from guardhouse.events.policies import decide_proposal as deciding
from guardhouse.events.policies import simulate as simulating
from guardhouse.events.policies import store
from guardhouse.events.policies.act import Scene
from guardhouse.events.policies.change_policy import PolicyInvalid, reach_policy
from guardhouse.events.policies.decide_proposal import ProposalDecided
from guardhouse.events.policies.wire import (
    ActionList,
    ActionQuery,
    ActionShape,
    DecisionRequest,
    PolicyChange,
    PolicyList,
    PolicyRequest,
    PolicyShape,
    SimulationRequest,
    SimulationShape,
    action_shape,
    members_of,
    policy_shape,
    simulation_shape,
)
from guardhouse.foundation import peer
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller, Require

router = api_router("app-rules")
Reader = Annotated[Caller, Depends(Require("app_rules:read", "projects:read"))]
Writer = Annotated[Caller, Depends(Require("app_rules:write"))]


@dataclass(frozen=True, slots=True)
class Addressed:
    """A policy by its place: of which project, and which one."""

    project_id: UUID
    policy_id: UUID


@router.post(
    "/projects/{project_id}/rule-policies",
    status_code=201,
    operation_id="create_rule_policy",
    responses=refusals(NotFound, Conflict, PolicyInvalid),
)
async def create_rule_policy(
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, wanted: PolicyRequest, response: Response
) -> PolicyShape:
    """Make a policy: it watches what it would do until its mode says to propose or to ban."""
    project = await reach_project(tx, caller, project_id)
    asked = changing.new_policy(project, new_id(), members_of(wanted), shared.clock.now(), caller.actor.name)
    made = await changing.create_policy(tx, caller, project, asked)
    response.headers["ETag"] = etag(made.version)
    return policy_shape(made)


@router.get(
    "/projects/{project_id}/rule-policies",
    operation_id="list_rule_policies",
    response_model=PolicyList,
    responses=refusals(NotFound),
)
async def list_rule_policies(
    caller: Reader, tx: RequestTx, page: AskedPage, project_id: UUID
) -> dict[str, Any]:
    """List the policies of a project in order of making."""
    project = await reach_project(tx, caller, project_id)
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await store.list_policies(tx, caller.tenant.id, project.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (row.id.bytes,), policy_shape)


@router.get(
    "/projects/{project_id}/rule-policies/{policy_id}",
    operation_id="get_rule_policy",
    responses=refusals(NotFound),
)
async def get_rule_policy(
    caller: Reader, tx: RequestTx, project_id: UUID, policy_id: UUID, response: Response
) -> PolicyShape:
    """Show one policy."""
    project = await reach_project(tx, caller, project_id)
    found = await reach_policy(tx, caller, project, policy_id)
    response.headers["ETag"] = etag(found.version)
    return policy_shape(found)


@router.patch(
    "/projects/{project_id}/rule-policies/{policy_id}",
    operation_id="update_rule_policy",
    responses=refusals(NotFound, PolicyInvalid, PreconditionFailed),
)
async def update_rule_policy(
    caller: Writer,
    tx: RequestTx,
    at: Annotated[Addressed, Depends()],
    change: PolicyChange,
    request: Request,
    response: Response,
) -> PolicyShape:
    """Change a policy, or enable one again that a brake has paused. If-Match guards against lost edits."""
    project = await reach_project(tx, caller, at.project_id)
    known = await reach_policy(tx, caller, project, at.policy_id, lock=True)
    check_match(request.headers, known.version)
    changed = await changing.change_policy(tx, caller, known, members_of(change))
    response.headers["ETag"] = etag(changed.version)
    return policy_shape(changed)


@router.delete(
    "/projects/{project_id}/rule-policies/{policy_id}",
    status_code=204,
    operation_id="delete_rule_policy",
    responses=refusals(NotFound),
)
async def delete_rule_policy(caller: Writer, tx: RequestTx, project_id: UUID, policy_id: UUID) -> Response:
    """Take a policy out; the bans that it made end when they would have."""
    project = await reach_project(tx, caller, project_id)
    await changing.delete_policy(tx, caller, await reach_policy(tx, caller, project, policy_id, lock=True))
    return Response(status_code=204)


@router.post(
    "/projects/{project_id}/rule-policies/{policy_id}:simulate",
    operation_id="simulate_rule_policy",
    responses=refusals(NotFound),
)
async def simulate_rule_policy(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    policy_id: UUID,
    wanted: SimulationRequest,
) -> SimulationShape:
    """Replay the last hours through a policy and say what it would have done; nothing changes."""
    project = await reach_project(tx, caller, project_id)
    policy = await reach_policy(tx, caller, project, policy_id)
    now = shared.clock.now()
    scene = Scene(caller.tenant, project, now, shared.settings.trusted_proxies)
    found = await simulating.simulate(tx, scene, policy, now - timedelta(hours=wanted.hours))
    return simulation_shape(found)


@router.get(
    "/projects/{project_id}/rule-actions",
    operation_id="list_rule_actions",
    response_model=ActionList,
    responses=refusals(NotFound),
)
async def list_rule_actions(
    caller: Reader, tx: RequestTx, page: AskedPage, project_id: UUID, wanted: Annotated[ActionQuery, Query()]
) -> dict[str, Any]:
    """List what policies did, proposed, refused or would have done, the newest first."""
    project = await reach_project(tx, caller, project_id)
    before = None if page.after is None else UUID(bytes=page.after[0])
    owner = (caller.tenant.id, project.id)
    rows = await store.list_actions(tx, owner, wanted.policy_id, wanted.state, page.limit + 1, before)
    return page.answer(rows, lambda row: (row.id.bytes,), action_shape)


@router.post(
    "/projects/{project_id}/rule-actions/{action_id}:accept",
    operation_id="accept_rule_proposal",
    responses=refusals(NotFound, Conflict, ProposalDecided, AppRuleInvalid),
)
async def accept_rule_proposal(
    caller: Writer,
    tx: RequestTx,
    request: Request,
    project_id: UUID,
    action_id: UUID,
    wanted: DecisionRequest,
) -> ActionShape:
    """Put a proposed ban into force, from now on for as long as it says."""
    project = await reach_project(tx, caller, project_id)
    by = _authorship(caller, resources_of(request), project, wanted)
    return action_shape(await deciding.accept_proposal(tx, project, action_id, by))


@router.post(
    "/projects/{project_id}/rule-actions/{action_id}:dismiss",
    operation_id="dismiss_rule_proposal",
    responses=refusals(NotFound, ProposalDecided),
)
async def dismiss_rule_proposal(
    caller: Writer,
    tx: RequestTx,
    request: Request,
    project_id: UUID,
    action_id: UUID,
    wanted: DecisionRequest,
) -> ActionShape:
    """Leave a proposed address alone; it is not proposed again for as long as the ban would have lasted."""
    project = await reach_project(tx, caller, project_id)
    by = _authorship(caller, resources_of(request), project, wanted)
    return action_shape(await deciding.dismiss_proposal(tx, project, action_id, by))


def _authorship(caller: Caller, shared: Resources, project: Project, wanted: DecisionRequest) -> Authorship:
    guarded = guarded_of(project, peer.current().address, shared.settings.trusted_proxies)
    return Authorship(
        caller.actor, shared.clock.now(), reason=wanted.reason, force=wanted.force, guarded=guarded
    )
