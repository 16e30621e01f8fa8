"""A key for one application: bound to its project, good for telemetry, status and rules, and for nothing else."""

from dataclasses import dataclass
from typing import Final

from guardhouse.agents.projects.store import Project
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.resources import Resources
from guardhouse.identity import keys, tenants
from guardhouse.identity.caller import Caller
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.store import ApiKey

ROLE: Final = "agent"
SCOPES: Final = ("app_rules:read", "telemetry:write")


@dataclass(frozen=True, slots=True)
class NewProjectKey:
    """What a key of an application should be."""

    name: str
    expires_in_days: int | None
    ip_allow: tuple[str, ...]


async def issue_key(
    tx: Tx, resources: Resources, caller: Caller, project: Project, wanted: NewProjectKey
) -> tuple[ApiKey, str]:
    """Make a key of a project and return it with its text, which is not kept.

    Raises:
        Conflict: the project is archived.
        ScopeEscalation: the caller may not do itself what the key is for.
    """
    if project.state != "active":
        raise Conflict("The project is archived.")
    if not caller.scopes.issuperset(SCOPES):
        raise ScopeEscalation("The new key would have scopes that yours does not have.")
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    new = NewKey(
        wanted.name,
        role=ROLE,
        scopes=SCOPES,
        project_id=project.id,
        env=caller.env,
        expires_in_days=wanted.expires_in_days,
        ip_allow=wanted.ip_allow,
    )
    return await keys.create_key(
        tx, resources.clock, resources.peppers[0], tenant, new, created_by=caller.actor
    )
