"""The life of a project: made, changed, archived (its keys are refused from then on), restored within 30 days.

No two projects of a tenant answer to one name, so that telemetry has one place to go to.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.agents.projects import store
from guardhouse.agents.projects.secrets.store import delete_all
from guardhouse.agents.projects.settings import ProjectSettings
from guardhouse.agents.projects.store import Project
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict
from guardhouse.foundation.ids import new_id
from guardhouse.identity import keys
from guardhouse.identity.store import KeyFilter

DEFAULT_SLUG: Final = "default"
ARCHIVE_KEPT: Final = timedelta(days=30)
MOST_KEYS: Final = 100_000


@dataclass(frozen=True, slots=True)
class NewProject:
    """What a new project should be."""

    slug: str
    name: str | None
    external_ids: tuple[str, ...]
    settings: ProjectSettings


async def create_project(
    tx: Tx, clock: Clock, tenant: TenantKey, wanted: NewProject, *, by: Actor
) -> Project:
    """Make a project.

    Raises:
        Conflict: another project answers to its slug or to one of its external ids.
    """
    project_id = new_id()
    await store.lock_projects(tx, tenant.no)
    await _insist_free(tx, tenant, [wanted.slug, *wanted.external_ids], project_id)
    made = await store.add_project(
        tx,
        tenant.id,
        {
            "project_id": project_id,
            "slug": wanted.slug,
            "name": wanted.name,
            "external_ids": list(wanted.external_ids),
            "settings": msgspec.to_builtins(wanted.settings),
            "created_at": clock.now(),
        },
    )
    if made is None:
        raise Conflict(f"There is a project named {wanted.slug} already.")
    await record(tx, by, Entry("project.create", f"project:{made.id}", after=described(made)))
    return made


async def change_project(
    tx: Tx, tenant: TenantKey, project: Project, changes: dict[str, Any], *, by: Actor
) -> Project:
    """Change name, external ids or settings of a project that the caller has locked.

    ``changes``: ``name``, ``external_ids`` and, as :class:`ProjectSettings`, ``settings``.

    Raises:
        Conflict: it is archived, or another project answers to one of the external ids.
    """
    if project.state != "active":
        raise Conflict("The project is archived.")
    external_ids = changes.get("external_ids")
    if external_ids:
        await store.lock_projects(tx, tenant.no)
        await _insist_free(tx, tenant, list(external_ids), project.id)
    wanted = replace(project, **changes)
    if wanted == project:
        return project
    changed = await store.change_project(
        tx,
        tenant.id,
        project.id,
        {
            "name": wanted.name,
            "external_ids": list(wanted.external_ids),
            "settings": msgspec.to_builtins(wanted.settings),
        },
    )
    before, after = described(project), described(changed)
    told = [name for name in after if before[name] != after[name]]
    entry = Entry(
        "project.update",
        f"project:{project.id}",
        {name: before[name] for name in told},
        {name: after[name] for name in told},
    )
    await record(tx, by, entry)
    return changed


async def archive_project(tx: Tx, clock: Clock, tenant: TenantKey, project: Project, *, by: Actor) -> None:
    """Archive a project that the caller has locked: no telemetry comes in and no rules go out from now on. Repeatable.

    Raises:
        Conflict: it is the default project, which is always there.
    """
    if project.slug == DEFAULT_SLUG:
        raise Conflict("The default project is always there.")
    if project.state == "archived":
        return
    await store.change_project(tx, tenant.id, project.id, {"state": "archived", "archived_at": clock.now()})
    await record(tx, by, Entry("project.archive", f"project:{project.id}", before={"slug": project.slug}))


async def restore_project(tx: Tx, tenant: TenantKey, project: Project, *, by: Actor) -> Project:
    """Open an archived project that the caller has locked again. Repeatable.

    Raises:
        Conflict: another project answers to one of its external ids by now.
    """
    if project.state == "active":
        return project
    await store.lock_projects(tx, tenant.no)
    await _insist_free(tx, tenant, list(project.external_ids), project.id)
    restored = await store.change_project(tx, tenant.id, project.id, {"state": "active", "archived_at": None})
    await record(tx, by, Entry("project.restore", f"project:{project.id}", after={"slug": project.slug}))
    return restored


async def end_project(tx: Tx, tenant: TenantKey, project: Project) -> None:
    """End an archived project that the caller has locked for good: keys, secrets, settings and names go, its row stays.

    Telemetry bears its number as long as the platform keeps telemetry.
    """
    for key in await keys.list_keys(tx, tenant.id, MOST_KEYS, wanted=KeyFilter(project_id=project.id)):
        await keys.revoke_key(tx, tenant.id, key.id, revoked_by="projects")
    await delete_all(tx, tenant.id, project.id)
    ended: dict[str, Any] = {
        "state": "deleted",
        "slug": str(project.id),
        "name": None,
        "external_ids": [],
        "settings": {},
    }
    await store.change_project(tx, tenant.id, project.id, ended)
    by = keys.actor_in(tenant.id, "projects")
    await record(tx, by, Entry("project.delete", f"project:{project.id}", before={"slug": project.slug}))


async def let_create_projects(tx: Tx, tenant: TenantKey, *, allowed: bool, by: Actor) -> None:
    """Say whether clients of a tenant make projects by naming them. Repeatable."""
    before = await store.may_create_projects(tx, tenant.id)
    if before == allowed:
        return
    await store.let_create_projects(tx, tenant.id, allowed=allowed)
    name = "auto_create_projects"
    await record(tx, by, Entry("tenant.update", f"tenant:{tenant.id}", {name: before}, {name: allowed}))


def described(project: Project) -> dict[str, Any]:
    """Return what of a project people decide, as the audit log shows it."""
    return {
        "slug": project.slug,
        "name": project.name,
        "external_ids": list(project.external_ids),
        "settings": msgspec.to_builtins(project.settings),
    }


async def _insist_free(tx: Tx, tenant: TenantKey, names: list[str], project_id: UUID) -> None:
    taken = await store.find_taken(tx, tenant.id, names, project_id)
    if taken:
        raise Conflict(f"Another project answers to {', '.join(taken[:5])}.")
