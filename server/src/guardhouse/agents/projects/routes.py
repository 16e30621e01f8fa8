"""Routes of projects: make, list, show, change, archive, restore, their keys; and what holds for all of a tenant's."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from guardhouse.agents.projects import change_project as changing
from guardhouse.agents.projects import store
from guardhouse.agents.projects.change_project import NewProject
from guardhouse.agents.projects.issue_key import NewProjectKey
from guardhouse.agents.projects.issue_key import issue_key as issue
from guardhouse.agents.projects.read import reach_project
from guardhouse.agents.projects.ready_config import ready_config
from guardhouse.agents.projects.settings import ProjectSettings
from guardhouse.agents.projects.wire import (
    NewProjectKeyShape,
    ProjectChange,
    ProjectKeyRequest,
    ProjectList,
    ProjectPolicy,
    ProjectQuery,
    ProjectRequest,
    ProjectShape,
    new_project_key_shape,
    project_shape,
    read_settings,
)
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity import keys
from guardhouse.identity.addresses import parse_networks
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.store import KeyFilter
from guardhouse.identity.wire import KeyList, key_shape

router = api_router("projects")
Reader = Annotated[Caller, Depends(Require("projects:read"))]
Writer = Annotated[Caller, Depends(Require("projects:write"))]


@router.post(
    "/projects", status_code=201, operation_id="create_project", responses=refusals(Conflict, ScopeEscalation)
)
async def create_project(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: ProjectRequest, response: Response
) -> ProjectShape:
    """Make a project. A client whose key is not bound to one can also make it by naming it."""
    _insist_whole_tenant(caller)
    new = NewProject(
        wanted.slug,
        wanted.name,
        tuple(dict.fromkeys(wanted.external_ids)),
        read_settings(wanted.settings, ProjectSettings()),
    )
    project = await changing.create_project(tx, shared.clock, caller.tenant, new, by=caller.actor)
    response.headers["ETag"] = etag(project.version)
    response.headers["Location"] = f"/api/v1/projects/{project.id}"
    return project_shape(project)


@router.get("/projects", operation_id="list_projects", response_model=ProjectList)
async def list_projects(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[ProjectQuery, Query()]
) -> dict[str, Any]:
    """List projects in order of making; a key that is bound to a project sees that one."""
    after = 0 if page.after is None else page.after[0]
    rows = await store.list_projects(
        tx, caller.tenant.id, wanted.state, page.limit + 1, after=after, only=caller.project_id
    )
    return page.answer(rows, lambda project: (project.no,), project_shape)


@router.get("/projects/{project_id}", operation_id="get_project", responses=refusals(NotFound))
async def get_project(caller: Reader, tx: RequestTx, project_id: UUID, response: Response) -> ProjectShape:
    """Show one project, active or archived."""
    project = await reach_project(tx, caller, project_id)
    response.headers["ETag"] = etag(project.version)
    return project_shape(project)


@router.patch(
    "/projects/{project_id}",
    operation_id="update_project",
    responses=refusals(NotFound, Conflict, PreconditionFailed),
)
async def update_project(
    caller: Writer,
    tx: RequestTx,
    project_id: UUID,
    change: ProjectChange,
    request: Request,
    response: Response,
) -> ProjectShape:
    """Change a project's name, external ids or settings. If-Match guards against lost edits."""
    project = await reach_project(tx, caller, project_id, lock=True)
    check_match(request.headers, project.version)
    changes: dict[str, Any] = {}
    if change.name is not None:
        changes["name"] = change.name
    if change.external_ids is not None:
        changes["external_ids"] = tuple(dict.fromkeys(change.external_ids))
    if change.settings is not None:
        changes["settings"] = read_settings(change.settings, project.settings)
    changed = await changing.change_project(tx, caller.tenant, project, changes, by=caller.actor)
    response.headers["ETag"] = etag(changed.version)
    return project_shape(changed)


@router.delete(
    "/projects/{project_id}",
    status_code=204,
    operation_id="delete_project",
    responses=refusals(NotFound, Conflict),
)
async def delete_project(caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID) -> Response:
    """Archive a project: its keys are refused at once, it can be restored for 30 days. Repeatable."""
    project = await reach_project(tx, caller, project_id, lock=True)
    await changing.archive_project(tx, shared.clock, caller.tenant, project, by=caller.actor)
    return Response(status_code=204)


@router.post(
    "/projects/{project_id}/restore", operation_id="restore_project", responses=refusals(NotFound, Conflict)
)
async def restore_project(caller: Writer, tx: RequestTx, project_id: UUID) -> ProjectShape:
    """Open an archived project again, with its keys and secrets. Repeatable."""
    project = await reach_project(tx, caller, project_id, lock=True)
    return project_shape(await changing.restore_project(tx, caller.tenant, project, by=caller.actor))


@router.post(
    "/projects/{project_id}/keys",
    status_code=201,
    operation_id="create_project_key",
    responses=refusals(NotFound, Conflict, ScopeEscalation),
)
async def create_project_key(
    caller: Writer, tx: RequestTx, shared: Shared, project_id: UUID, wanted: ProjectKeyRequest
) -> NewProjectKeyShape:
    """Make a key for the application; its text, and settings ready to paste, are in this answer alone."""
    project = await reach_project(tx, caller, project_id)
    new = NewProjectKey(wanted.name, wanted.expires_in_days, parse_networks(wanted.ip_allow))
    key, text = await issue(tx, shared, caller, project, new)
    ready = ready_config(shared.settings.public_url, text, project.slug)
    return new_project_key_shape(key, text, ready, shared.clock.now())


@router.get(
    "/projects/{project_id}/keys",
    operation_id="list_project_keys",
    response_model=KeyList,
    responses=refusals(NotFound),
)
async def list_project_keys(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage, project_id: UUID
) -> dict[str, Any]:
    """List the keys that are bound to the project, newest first, never their text; `/keys/{key_id}` ends them."""
    project = await reach_project(tx, caller, project_id)
    now = shared.clock.now()
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    asked = KeyFilter(now, project_id=project.id)
    rows = await keys.list_keys(tx, caller.tenant.id, page.limit + 1, after, asked)
    return page.answer(
        rows, lambda key: (microseconds(key.created_at), key.id.bytes), lambda key: key_shape(key, now)
    )


@router.get("/project-policy", operation_id="get_project_policy")
async def get_project_policy(caller: Reader, tx: RequestTx) -> ProjectPolicy:
    """Show what holds for all projects of the tenant."""
    return ProjectPolicy(auto_create_projects=await store.may_create_projects(tx, caller.tenant.id))


@router.put("/project-policy", operation_id="set_project_policy", responses=refusals(ScopeEscalation))
async def set_project_policy(caller: Writer, tx: RequestTx, wanted: ProjectPolicy) -> ProjectPolicy:
    """Say what holds for all projects of the tenant."""
    _insist_whole_tenant(caller)
    allowed = wanted.auto_create_projects
    await changing.let_create_projects(tx, caller.tenant, allowed=allowed, by=caller.actor)
    return wanted


def _insist_whole_tenant(caller: Caller) -> None:
    if caller.project_id is not None:
        raise ScopeEscalation("Your key is bound to one project.")
