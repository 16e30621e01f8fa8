"""The reading side of incidents: lists, one with what was told of it, and the processes of its tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.scores import queries
from guardhouse.scores.incidents.store import Contributions, Incident
from guardhouse.scores.queries import ProcessRow


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident with whose it is and the program at the root of its tree."""

    incident: Incident
    agent_no: int
    agent_id: str
    exe: str | None
    comm: str | None


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents a list shows; None = all. ``band`` is the worst that was reached."""

    status: str | None = None
    band: str | None = None
    agent_id: str | None = None
    agent_no: int | None = None
    root_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ToldRow:
    """One notice about an incident and what it rested on; its points sum to its risk."""

    band: str
    evidence_id: str
    notice_id: UUID
    number: int
    at: datetime
    process_id: str
    previous_band: str
    risk: int
    contributions: Contributions


_INCIDENTS: Final = (
    "SELECT i.incident_id, i.root_key, i.tree_id, i.process_id, i.status, i.opened_at, i.opened_position, i.seen_at,"
    " i.position, i.band, i.risk, i.peak_band, i.peak_risk, i.peak_at, i.contributions, i.versions, i.version,"
    " i.closed_at, i.closed_by, i.close_reason, i.agent_no, a.agent_id, r.exe, r.comm"
    " FROM risk_incidents i JOIN host_agents a USING (agent_no)"
    " LEFT JOIN processes r ON r.agent_no = i.agent_no AND r.key = i.root_key"
)
_BEYOND: Final = 4  # columns after those of the incident


async def list_incidents(
    tx: Tx, tenant_no: int, wanted: IncidentFilter, limit: int, after: Sequence[Any] | None
) -> list[IncidentRow]:
    """Return incidents, the last opened first; ``after`` = (opened_at, incident_id)."""
    where, args = queries.conditions(
        [
            ("i.tenant_no = ${}", tenant_no),
            ("i.status = ${}", wanted.status),
            ("i.peak_band = ${}", wanted.band),
            ("a.agent_id = ${}", wanted.agent_id),
            ("i.agent_no = ${}", wanted.agent_no),
            ("i.root_key = ${}", wanted.root_key),
            ("i.opened_at >= ${}", wanted.since),
            ("i.opened_at < ${}", wanted.until),
        ]
    )
    if after is not None:
        args += after
        where += f" AND (i.opened_at, i.incident_id) < (${len(args) - 1}, ${len(args)})"
    rows = await tx.fetch(
        f"{_INCIDENTS} WHERE {where} ORDER BY i.opened_at DESC, i.incident_id DESC LIMIT {int(limit)}", *args
    )
    return [_row(row) for row in rows]


async def get_incident(tx: Tx, tenant_no: int, incident_id: UUID) -> IncidentRow | None:
    """Return one incident of a tenant."""
    row = await tx.fetch_row(
        f"{_INCIDENTS} WHERE i.tenant_no = $1 AND i.incident_id = $2", tenant_no, incident_id
    )
    return None if row is None else _row(row)


async def list_lines(tx: Tx, tenant_no: int, incident_id: UUID) -> list[ToldRow]:
    """Return what was told of an incident, in order."""
    rows = await tx.fetch(
        "SELECT band, evidence_id, notice_id, number, at, process_id, previous_band, risk, contributions"
        " FROM risk_incident_notices WHERE tenant_no = $1 AND incident_id = $2 ORDER BY number",
        tenant_no,
        incident_id,
    )
    return [ToldRow(*row) for row in rows]


async def list_processes(
    tx: Tx, row: IncidentRow, since: datetime, until: datetime, limit: int
) -> list[ProcessRow]:
    """Return processes of the tree that lived in a span of time: those with evidence of their own first."""
    return await queries.list_of_tree(tx, row.agent_no, row.incident.root_key, since, until, limit)


def _row(row: Any) -> IncidentRow:
    return IncidentRow(Incident(*row[:-_BEYOND]), *row[-_BEYOND:])
