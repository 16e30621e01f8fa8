"""Which project a delivery belongs to: the key's, or the one that the client names, made on the spot if allowed."""

import hashlib
import re
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.agents.projects import store
from guardhouse.agents.projects.change_project import DEFAULT_SLUG
from guardhouse.agents.projects.store import Project
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import new_id

__all__ = ["Project", "ProjectMismatch", "UnknownProject", "note_skew", "resolve_project"]

MAX_NAME_LENGTH: Final = 128
MAX_PROJECTS: Final = 200
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class ProjectMismatch(Problem):
    """The key is bound to one project and the request names another."""

    status, code, title = 403, "project_mismatch", "Project mismatch"
    remediation = "Leave X-Project-ID out, or use a key of the project that it names."


class UnknownProject(Problem):
    """There is no such project, and none may be made by naming it."""

    status, code, title = 403, "unknown_project", "Unknown project"
    remediation = (
        "Create or restore the project, correct X-Project-ID, or allow projects to be made by naming them."
    )


async def resolve_project(
    tx: Tx, clock: Clock, tenant: TenantKey, *, bound: UUID | None, named: str | None, by: Actor
) -> Project:
    """Return the project for a key (``bound`` to a project, or not) and the name a client gave.

    A name is a project's id, slug or external id. Without one: the key's project, else ``default``. ``by`` is
    recorded when a project is made.

    Raises:
        ProjectMismatch: the key is bound to another project than the named one.
        UnknownProject: no such project, and it cannot be made.
    """
    if bound is not None:
        return await _resolve_bound(tx, tenant, bound, named)
    if not named:
        return await _get_or_create(tx, clock, tenant, DEFAULT_SLUG, by)
    found = await _find(tx, tenant, named)
    if found is not None:
        return found
    if len(named) > MAX_NAME_LENGTH:
        raise UnknownProject(f"A project's name has at most {MAX_NAME_LENGTH} characters.")
    return await _get_or_create(tx, clock, tenant, named, by)


async def _resolve_bound(tx: Tx, tenant: TenantKey, bound: UUID, named: str | None) -> Project:
    project = await store.find_project(tx, tenant.id, str(bound))
    if project is None or project.id != bound or project.state != "active":  # a name may look like an id
        raise UnknownProject("The project of this key is archived.")
    if named:
        other = await store.find_project(tx, tenant.id, named)
        if other is None or other.id != project.id:
            raise ProjectMismatch(f"The key belongs to the project {project.slug}, not to the one named.")
    return project


async def _find(tx: Tx, tenant: TenantKey, name: str) -> Project | None:
    """Return the active project of this name; one that was archived is not made a second time by naming it."""
    found = await store.find_project(tx, tenant.id, name)
    if found is not None and found.state != "active":
        raise UnknownProject(f"The project {found.slug} is archived.")
    return found


async def _get_or_create(tx: Tx, clock: Clock, tenant: TenantKey, name: str, by: Actor) -> Project:
    found = await _find(tx, tenant, name)
    if found is not None:
        return found
    await store.lock_projects(tx, tenant.no)
    found = await _find(tx, tenant, name)  # made while we waited
    if found is not None:
        return found
    if name != DEFAULT_SLUG:
        if not await store.may_create_projects(tx, tenant.id):
            raise UnknownProject(f"There is no project named {name}.")
        if await store.count_projects(tx, tenant.id) >= MAX_PROJECTS:
            raise UnknownProject(f"There is no project named {name}, and {MAX_PROJECTS} exist already.")
    for slug in _slugs(name):
        made = await store.add_project(
            tx,
            tenant.id,
            {
                "project_id": new_id(),
                "slug": slug,
                "name": name,
                "external_ids": [] if slug == name else [name],
                "created_at": clock.now(),
            },
        )
        if made is not None:
            after = {"slug": made.slug, "named": name[:MAX_NAME_LENGTH]}
            await record(tx, by, Entry("project.create", f"project:{made.id}", after=after))
            return made
    raise UnknownProject(f"There is no project named {name}, and none can be made of it.")


def _slugs(name: str) -> list[str]:
    """Return slugs for a name, the plainest first; the second is unique to the name."""
    mark = hashlib.sha256(name.encode()).hexdigest()[:10]
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:52] or "project"
    return [name if _SLUG.fullmatch(name) else plain, f"{plain}-{mark}"]


async def note_skew(tx: Tx, project: Project, at: datetime) -> None:
    """Remember that an item of this project came with a time that cannot be used."""
    await store.note_skew(tx, project.no, at)
