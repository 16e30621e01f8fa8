"""Who changes the rules of an app over HTTP, in the words of the operations: project, author and what is guarded."""

from collections.abc import Iterable
from uuid import UUID

from guardhouse.agents.projects.read import Project, reach_project
from guardhouse.agents.rules.operations import Add, Authorship, Change, Operation, Remove, guarded_of
from guardhouse.agents.rules.wire import (
    AddOperation,
    OperationShape,
    OperationsRequest,
    RemoveOperation,
    members_of,
    new_rule_of,
)
from guardhouse.foundation import peer
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller


async def reach_open_project(tx: Tx, caller: Caller, project_id: UUID) -> Project:
    """Return a project whose rules may be changed.

    Raises:
        NotFound: out of reach.
        Conflict: it is archived.
    """
    project = await reach_project(tx, caller, project_id)
    if project.state != "active":
        raise Conflict("The project is archived: its rules stay as they are.")
    return project


def authorship_of(
    caller: Caller, shared: Resources, project: Project, reason: str | None, *, force: bool = False
) -> Authorship:
    """Return who changes a project's rules by this request; a ban must not hit the address that it comes from."""
    guarded = guarded_of(project, peer.current().address, shared.settings.trusted_proxies)
    return Authorship(caller.actor, shared.clock.now(), reason=reason, force=force, guarded=guarded)


def operations_of(wanted: OperationsRequest) -> list[Operation]:
    """Return the operations that a body asks for, each with its place in it."""
    return list(_operations(wanted.operations))


def _operations(shapes: Iterable[OperationShape]) -> Iterable[Operation]:
    for index, shape in enumerate(shapes):
        if isinstance(shape, AddOperation):
            yield Add(new_rule_of(shape.rule), f"/operations/{index}/rule")
        elif isinstance(shape, RemoveOperation):
            yield Remove(shape.id)
        else:
            yield Change(shape.id, members_of(shape.change), f"/operations/{index}/change")
