"""The reading half of the statements on instances: which projects have work, and what of them adds up to what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.instances.ledger import Received
from guardhouse.agents.instances.store import Place
from guardhouse.foundation.database import TenantKey, Tx

_SUMS: Final = ", ".join(
    f"sum({lane}_{name})::bigint"
    for lane in ("events", "metrics")
    for name in ("stored", "rolled_up", "duplicates", "rejected")
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What came in from processes of one installation and one version of a client."""

    installation: str
    user_agent: str
    batches: int
    replays: int
    events: Received
    metrics: Received


async def list_waiting_projects(tx: Tx, now: datetime, tenant_no: int | None = None) -> list[Place]:
    """Return the projects with contacts in the queue, of one tenant or of all, in the order in which to lock them."""
    rows = await tx.fetch(
        "SELECT p.tenant_id, c.tenant_no, p.project_no, p.project_id"
        " FROM (SELECT DISTINCT tenant_no, project_no FROM instance_contacts"
        "  WHERE $1::bigint IS NULL OR tenant_no = $1) AS c JOIN projects p USING (project_no) ORDER BY p.project_no",
        tenant_no,
    )
    return [_place(row, now) for row in rows]


async def list_due_projects(tx: Tx, now: datetime, ahead: datetime) -> list[Place]:
    """Return the projects in which time alone has changed an instance, or one was heard after ``ahead``."""
    rows = await tx.fetch(
        "SELECT DISTINCT p.tenant_id, i.tenant_no, p.project_no, p.project_id"
        " FROM instances i JOIN projects p USING (project_no)"
        " WHERE i.archived_at IS NULL AND (i.due_at <= $1 OR i.last_seen_at > $2) ORDER BY p.project_no",
        now,
        ahead,
    )
    return [_place(row, now) for row in rows]


async def find_place(tx: Tx, tenant: TenantKey, instance_id: UUID, now: datetime) -> Place | None:
    """Return the project of one of a tenant's instances."""
    row = await tx.fetch_row(
        "SELECT p.project_no, p.project_id FROM instances i JOIN projects p USING (project_no)"
        " WHERE i.tenant_no = $1 AND i.instance_id = $2",
        tenant.no,
        instance_id,
    )
    return None if row is None else Place(tenant, row["project_no"], row["project_id"], now)


async def list_succeeded(tx: Tx, project_no: int, instance_nos: Sequence[int]) -> set[int]:
    """Return which of these have a younger process of the same installation that was heard after them."""
    rows = await tx.fetch(
        "SELECT i.instance_no FROM instances i WHERE i.instance_no = ANY($2::bigint[]) AND EXISTS"
        " (SELECT FROM instances y WHERE y.project_no = $1 AND y.installation = i.installation"
        "  AND y.first_seen_at > i.first_seen_at AND y.last_seen_at > i.last_seen_at)",
        project_no,
        list(instance_nos),
    )
    return {row["instance_no"] for row in rows}


async def count_instances(tx: Tx, project_no: int) -> int:
    """Return how many unarchived instances a project has."""
    found: int = await tx.fetch_value(
        "SELECT count(*) FROM instances WHERE project_no = $1 AND archived_at IS NULL", project_no
    )
    return found


async def sum_without_ledger(tx: Tx, project_no: int) -> list[Counted]:
    """Return what came in from processes of a project that keep no ledger."""
    rows = await tx.fetch(
        f"SELECT installation, user_agent, sum(batches)::bigint, sum(replays)::bigint, {_SUMS} FROM instances"
        " WHERE project_no = $1 AND ledger IS NULL GROUP BY installation, user_agent ORDER BY 1, 2",
        project_no,
    )
    return [Counted(row[0], row[1], row[2], row[3], Received(*row[4:8]), Received(*row[8:])) for row in rows]


def _place(row: Any, now: datetime) -> Place:
    return Place(TenantKey(row["tenant_id"], row["tenant_no"]), row["project_no"], row["project_id"], now)
