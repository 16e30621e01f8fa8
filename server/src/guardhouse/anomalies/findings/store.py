"""Anomalies: table and statements."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.anomalies.findings.anomaly import Anomaly
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

anomalies = Table(
    "anomalies",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("anomaly_id", Uuid, nullable=False),
    Column("timestamp", _INSTANT, nullable=False),
    Column("stream_no", BigInteger, nullable=False),
    Column("stream_id", Uuid, nullable=False),
    Column("stream_type", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("signature", Text, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("significant", Boolean, nullable=False),
    Column("alerted", Boolean, nullable=False),
    Column("ncd_score", Double),
    Column("explanation_text", Text, nullable=False),
    Column("details_text", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("score", JSONB, nullable=False),
    Column("glass_box", JSONB, nullable=False),
    Column("decision", JSONB, nullable=False),
    Column("explanation", JSONB, nullable=False),
    Column("versions", JSONB, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("acknowledged_by", Text),
    Column("acknowledged_at", _INSTANT),
    Column("dismissed_by", Text),
    Column("dismissed_at", _INSTANT),
    Column("notes", Text),
    Column("created_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_no", "anomaly_id"),
    UniqueConstraint(
        "tenant_no", "stream_no", "kind", "first_seq", "last_seq", "signature", name="anomalies_place_key"
    ),
    CheckConstraint("status IN ('pending', 'acknowledged', 'investigating', 'dismissed')", name="status"),
    CheckConstraint("severity IN ('low', 'medium', 'high', 'critical')", name="severity"),
    Index("anomalies_timestamp_idx", "tenant_no", "timestamp", "anomaly_id"),
    Index("anomalies_type_idx", "tenant_no", "stream_type", "status", "timestamp"),
    Index("anomalies_stream_idx", "tenant_no", "stream_no", "timestamp"),
    Index("anomalies_p_value_idx", "tenant_no", "p_value"),
)
_COLUMNS: Final = tuple(column.name for column in anomalies.columns if column.name != "tenant_no")
_JSON: Final = frozenset({"score", "glass_box", "decision", "explanation", "versions"})
_READ: Final = ", ".join(f"{name}::text" if name in _JSON else name for name in _COLUMNS)
_FIELDS: Final = tuple("id" if name == "anomaly_id" else name for name in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which anomalies a list is of; None = any. Without ``all_kept`` only what alerted, or came from outside."""

    stream_id: UUID | None = None
    stream_type: str | None = None
    status: str | None = None
    severity: str | None = None
    kind: str | None = None
    entity: str | None = None
    words: str | None = None
    tags: tuple[str, ...] | None = None
    min_ncd_score: float | None = None
    max_p_value: float | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    only_significant: bool = False
    all_kept: bool = False


async def add_anomalies(tx: Tx, tenant_no: int, found: Sequence[Anomaly]) -> None:
    """Store anomalies; one that is there already is left as it is."""
    places = ", ".join(
        f"${number}::text::jsonb" if name in _JSON else f"${number}"
        for number, name in enumerate(_COLUMNS, 2)
    )
    await tx.run_many(
        f"INSERT INTO anomalies (tenant_no, {', '.join(_COLUMNS)}) VALUES ($1, {places})"
        " ON CONFLICT (tenant_no, stream_no, kind, first_seq, last_seq, signature) DO NOTHING",
        [(tenant_no, *_row(one)) for one in found],
    )


async def find_anomaly(tx: Tx, tenant_no: int, anomaly_id: UUID, *, lock: bool = False) -> Anomaly | None:
    """Return one anomaly."""
    row = await tx.fetch_row(
        f"SELECT {_READ} FROM anomalies WHERE tenant_no = $1 AND anomaly_id = $2{' FOR UPDATE' if lock else ''}",
        tenant_no,
        anomaly_id,
    )
    return None if row is None else _anomaly(row)


async def list_anomalies(
    tx: Tx, tenant_no: int, filters: Filters, limit: int, before: tuple[datetime, UUID] | None
) -> list[Anomaly]:
    """Return anomalies, the newest first; ``before``: time and id of the last one shown."""
    at, anomaly_id = before or (None, None)
    rows = await tx.fetch(
        f"SELECT {_READ} FROM anomalies WHERE tenant_no = $1"
        " AND ($2::uuid IS NULL OR stream_id = $2) AND ($3::text IS NULL OR stream_type = $3)"
        " AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR severity = $5)"
        " AND ($6::text IS NULL OR kind = $6) AND ($7::text IS NULL OR entity = $7)"
        " AND ($8::text IS NULL OR strpos(lower(explanation_text), lower($8)) > 0)"
        " AND ($9::text[] IS NULL OR tags @> $9) AND ($10::float8 IS NULL OR ncd_score >= $10)"
        " AND ($11::float8 IS NULL OR p_value <= $11) AND ($12::timestamptz IS NULL OR timestamp >= $12)"
        " AND ($13::timestamptz IS NULL OR timestamp < $13) AND (significant OR NOT $14)"
        " AND ($15 OR alerted OR kind = 'external')"
        " AND ($16::timestamptz IS NULL OR (timestamp, anomaly_id) < ($16, $17::uuid))"
        " ORDER BY timestamp DESC, anomaly_id DESC LIMIT $18",
        tenant_no,
        filters.stream_id,
        filters.stream_type,
        filters.status,
        filters.severity,
        filters.kind,
        filters.entity,
        filters.words,
        None if filters.tags is None else list(filters.tags),
        filters.min_ncd_score,
        filters.max_p_value,
        filters.start_time,
        filters.end_time,
        filters.only_significant,
        filters.all_kept,
        at,
        anomaly_id,
        limit,
    )
    return [_anomaly(row) for row in rows]


async def put_status(tx: Tx, tenant_no: int, changed: Anomaly) -> None:
    """Store what people made of an anomaly."""
    await tx.run(
        "UPDATE anomalies SET status = $3, acknowledged_by = $4, acknowledged_at = $5, dismissed_by = $6,"
        " dismissed_at = $7, notes = $8, updated_at = $9, version = $10"
        " WHERE tenant_no = $1 AND anomaly_id = $2",
        tenant_no,
        changed.id,
        changed.status,
        changed.acknowledged_by,
        changed.acknowledged_at,
        changed.dismissed_by,
        changed.dismissed_at,
        changed.notes,
        changed.updated_at,
        changed.version,
    )


def _row(one: Anomaly) -> list[object]:
    values = []
    for name, member in zip(_COLUMNS, _FIELDS, strict=True):
        value = getattr(one, member)
        if name in _JSON:
            value = json.dumps(value)
        values.append(list(value) if isinstance(value, tuple) else value)
    return values


def _anomaly(row: Any) -> Anomaly:
    found = {}
    for value, name, member in zip(tuple(row), _COLUMNS, _FIELDS, strict=True):
        found[member] = msgspec.json.decode(value) if name in _JSON else value
    return Anomaly(**found | {"tags": tuple(found["tags"])})
