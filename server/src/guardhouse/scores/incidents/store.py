"""Incidents and what was told of them: tables, and the statements that write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

risk_incidents = Table(
    "risk_incidents",
    metadata,
    Column("incident_id", Uuid, primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("root_key", Text, nullable=False),
    Column("tree_id", Text, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("opened_at", _INSTANT, nullable=False),
    Column("opened_position", BigInteger, nullable=False),
    Column("seen_at", _INSTANT, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("band", Text, nullable=False),
    Column("risk", Integer, nullable=False),
    Column("peak_band", Text, nullable=False),
    Column("peak_risk", Integer, nullable=False),
    Column("peak_at", _INSTANT, nullable=False),
    Column("contributions", JSONB, nullable=False),
    Column("versions", JSONB, nullable=False),
    Column("version", Integer, nullable=False),
    Column("closed_at", _INSTANT),
    Column("closed_by", Text),
    Column("close_reason", Text),
    CheckConstraint("status IN ('open', 'closed')", name="status"),
    Index(
        "risk_incidents_open_key",
        "agent_no",
        "root_key",
        unique=True,
        postgresql_where=text("status = 'open'"),
    ),
    Index("risk_incidents_agent_no_root_key_idx", "agent_no", "root_key"),
    Index("risk_incidents_tenant_no_opened_at_idx", "tenant_no", "opened_at", "incident_id"),
)

risk_incident_notices = Table(
    "risk_incident_notices",
    metadata,
    Column("incident_id", Uuid, nullable=False),
    Column("band", Text, nullable=False),
    Column("evidence_id", Text, nullable=False),
    Column("tenant_no", BigInteger, nullable=False),
    Column("notice_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("process_id", Text, nullable=False),
    Column("previous_band", Text, nullable=False),
    Column("risk", Integer, nullable=False),
    Column("contributions", JSONB, nullable=False),
    PrimaryKeyConstraint("incident_id", "band", "evidence_id"),
)

Told = tuple[UUID, str, str]  # incident, band, evidence id
Contributions = list[dict[str, Any]]

_COLUMNS: Final = (
    "incident_id", "root_key", "tree_id", "process_id", "status", "opened_at", "opened_position", "seen_at",
    "position", "band", "risk", "peak_band", "peak_risk", "peak_at", "contributions", "versions", "version",
    "closed_at", "closed_by", "close_reason",
)  # fmt: skip
_SAVE: Final = (
    f"INSERT INTO risk_incidents (tenant_no, agent_no, {', '.join(_COLUMNS)})"
    f" VALUES ({', '.join(f'${n}' for n in range(1, len(_COLUMNS) + 3))})"
    " ON CONFLICT (incident_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[4:])
)


@dataclass(slots=True)
class Incident:
    """One incident as stored. Risks in hundredths, times in event time; ``version`` counts its notices.

    ``contributions`` explain the tree at its peak; their points sum to ``peak_risk``.
    """

    id: UUID
    root_key: str
    tree_id: str
    process_id: str
    status: str
    opened_at: datetime
    opened_position: int
    seen_at: datetime
    position: int
    band: str
    risk: int
    peak_band: str
    peak_risk: int
    peak_at: datetime
    contributions: Contributions
    versions: dict[str, Any]
    version: int
    closed_at: datetime | None = None
    closed_by: str | None = None
    close_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A notice that is to be told once: what decides that, and what it said."""

    told: Told
    notice_id: UUID
    number: int
    at: datetime
    position: int
    process_id: str
    previous_band: str
    risk: int
    contributions: Contributions


async def lock_open(tx: Tx, agent_no: int, root_keys: Sequence[str]) -> list[Incident]:
    """Return the open incidents of some trees, held against whoever closes them."""
    rows = await tx.fetch(
        f"SELECT {', '.join(_COLUMNS)} FROM risk_incidents"
        " WHERE agent_no = $1 AND root_key = ANY($2::text[]) AND status = 'open' ORDER BY incident_id FOR UPDATE",
        agent_no,
        list(root_keys),
    )
    return [_incident(row) for row in rows]


async def lock_one(tx: Tx, tenant_no: int, incident_id: UUID) -> Incident | None:
    """Return one incident, held until the end of the transaction."""
    row = await tx.fetch_row(
        f"SELECT {', '.join(_COLUMNS)} FROM risk_incidents WHERE tenant_no = $1 AND incident_id = $2 FOR UPDATE",
        tenant_no,
        incident_id,
    )
    return None if row is None else _incident(row)


async def list_told(tx: Tx, incident_ids: Sequence[UUID]) -> set[Told]:
    """Return what has been told of some incidents."""
    rows = await tx.fetch(
        "SELECT incident_id, band, evidence_id FROM risk_incident_notices WHERE incident_id = ANY($1::uuid[])",
        list(incident_ids),
    )
    return {(row["incident_id"], row["band"], row["evidence_id"]) for row in rows}


async def save(tx: Tx, tenant_no: int, agent_no: int, incidents: Sequence[Incident]) -> None:
    """Write incidents as they are now."""
    await tx.run_many(
        _SAVE,
        [
            (tenant_no, agent_no, i.id, *(_stored(getattr(i, name)) for name in _COLUMNS[1:]))
            for i in incidents
        ],
    )


async def close(tx: Tx, tenant_no: int, incident: Incident) -> None:
    """Write the end of an incident."""
    await tx.run(
        "UPDATE risk_incidents SET status = 'closed', version = $3, closed_at = $4, closed_by = $5,"
        " close_reason = $6 WHERE tenant_no = $1 AND incident_id = $2",
        tenant_no,
        incident.id,
        incident.version,
        incident.closed_at,
        incident.closed_by,
        incident.close_reason,
    )


async def add_lines(tx: Tx, tenant_no: int, lines: Sequence[Line]) -> set[Told]:
    """Write what is to be told; returns what nobody had told before: the unique index decides."""
    fresh = set()
    for line in lines:
        added = await tx.fetch_value(
            "INSERT INTO risk_incident_notices (incident_id, band, evidence_id, tenant_no, notice_id, number, at,"
            " position, process_id, previous_band, risk, contributions)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING true",
            *line.told,
            tenant_no,
            line.notice_id,
            line.number,
            line.at,
            line.position,
            line.process_id,
            line.previous_band,
            line.risk,
            _stored(line.contributions),
        )
        if added:
            fresh.add(line.told)
    return fresh


def _stored(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, (list, dict)) else value


def _incident(row: Any) -> Incident:
    return Incident(*row)
