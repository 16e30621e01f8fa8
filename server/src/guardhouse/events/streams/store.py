"""Minutes of projects with their values by route, and the routes that are known: tables and statements."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.events.streams.measure import SeenEvent, SeenMetric
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

event_minutes = Table(
    "event_minutes",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("minute", _INSTANT, nullable=False),
    Column("sealed_at", _INSTANT),
    Column("late_at", _INSTANT),
    Column("corrections", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "minute"),
    Index("event_minutes_open_idx", "minute", postgresql_where=text("sealed_at IS NULL")),
    Index("event_minutes_late_idx", "late_at", postgresql_where=text("late_at IS NOT NULL")),
)

event_streams = Table(
    "event_streams",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("minute", _INSTANT, nullable=False),
    Column("correction", Integer, nullable=False),
    Column("route", Text, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
    Column("measured", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "minute", "correction", "route"),
)

event_routes = Table(
    "event_routes",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("route", Text, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "route"),
)


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of a project that has to be measured. ``correction``: 0 seals it, n is its nth correction."""

    tenant_no: int
    project_no: int
    begins_at: datetime
    correction: int


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a minute: as sealed, or as corrected the nth time."""

    minute: datetime
    correction: int
    route: str
    made_at: datetime
    values: dict[str, float | None]


async def mark(tx: Tx, minutes: Collection[tuple[int, int, datetime]], now: datetime) -> None:
    """Note that something came in for minutes of (tenant number, project number); a sealed one has to be corrected."""
    await tx.run(
        "INSERT INTO event_minutes AS m (tenant_no, project_no, minute, corrections)"
        " SELECT u.*, 0 FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS u"
        " ON CONFLICT (tenant_no, project_no, minute) DO UPDATE SET late_at = coalesce(m.late_at, $4)"
        " WHERE m.sealed_at IS NOT NULL",
        *map(list, zip(*sorted(minutes), strict=True)),
        now,
    )


async def list_ripe(tx: Tx, sealed_until: datetime, late_until: datetime, limit: int) -> list[Minute]:
    """Return minutes that began before one instant and are open, and those late since another; locked until commit.

    Those that another worker holds are left out.
    """
    held = "LIMIT $2 FOR UPDATE SKIP LOCKED"
    opened = await tx.fetch(
        "SELECT tenant_no, project_no, minute, 0 AS correction FROM event_minutes"
        f" WHERE sealed_at IS NULL AND minute <= $1 ORDER BY minute {held}",
        sealed_until,
        limit,
    )
    late = await tx.fetch(
        "SELECT tenant_no, project_no, minute, corrections + 1 FROM event_minutes"
        f" WHERE late_at <= $1 ORDER BY late_at {held}",
        late_until,
        limit,
    )
    return [Minute(*tuple(row)) for row in (*opened, *late)]


async def keep_values(
    tx: Tx, minute: Minute, by_route: Mapping[str, Mapping[str, float | None]], now: datetime
) -> None:
    """Store the values of a minute, and that it is sealed or corrected with them."""
    await tx.run_many(
        "INSERT INTO event_streams (tenant_no, project_no, minute, correction, route, made_at, measured)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb)",
        [
            (
                minute.tenant_no,
                minute.project_no,
                minute.begins_at,
                minute.correction,
                route,
                now,
                json.dumps(values),
            )
            for route, values in by_route.items()
        ],
    )
    await tx.run(
        "UPDATE event_minutes SET sealed_at = coalesce(sealed_at, $4), late_at = NULL, corrections = $5"
        " WHERE tenant_no = $1 AND project_no = $2 AND minute = $3",
        minute.tenant_no,
        minute.project_no,
        minute.begins_at,
        now,
        minute.correction,
    )


async def list_routes(tx: Tx, tenant_no: int, project_no: int) -> set[str]:
    """Return the routes of a project that have had a line of their own."""
    rows = await tx.fetch(
        "SELECT route FROM event_routes WHERE tenant_no = $1 AND project_no = $2", tenant_no, project_no
    )
    return {row["route"] for row in rows}


async def add_routes(tx: Tx, tenant_no: int, project_no: int, routes: Collection[str]) -> None:
    """Note routes that have a line of their own from now on."""
    await tx.run(
        "INSERT INTO event_routes (tenant_no, project_no, route) SELECT $1, $2, u FROM unnest($3::text[]) AS u"
        " ON CONFLICT DO NOTHING",
        tenant_no,
        project_no,
        sorted(routes),
    )


async def read_events(tx: Tx, minute: Minute, span: tuple[UUID, UUID], until: datetime) -> list[SeenEvent]:
    """Return the events of a minute, and what was rolled up of it; ``span``: ids from, and before."""
    rows = await tx.fetch(
        "SELECT class, coalesce(host(ip), ip_text), endpoint, action_taken, count(*) FROM events WHERE tenant_no = $1"
        " AND project_no = $2 AND event_id >= $3 AND event_id < $4 AND occurred_at >= $5 AND occurred_at < $6"
        " GROUP BY 1, 2, 3, 4",
        minute.tenant_no,
        minute.project_no,
        *span,
        minute.begins_at,
        until,
    )
    noise: int | None = await tx.fetch_value(
        "SELECT sum(count)::bigint FROM event_rollups WHERE tenant_no = $1 AND project_no = $2 AND minute = $3",
        minute.tenant_no,
        minute.project_no,
        minute.begins_at,
    )
    found = [SeenEvent(*tuple(row)) for row in rows]
    return [*found, SeenEvent("noise", count=noise)] if noise else found


async def read_metrics(tx: Tx, minute: Minute, span: tuple[UUID, UUID], until: datetime) -> list[SeenMetric]:
    """Return the metrics of a minute; ``span``: ids from, and before."""
    rows = await tx.fetch(
        "SELECT metric_type, value, coalesce(endpoint, tags->>'endpoint'), sum(coalesce(count, 1))::bigint, count(*)"
        " FROM metrics WHERE tenant_no = $1 AND project_no = $2 AND metric_id >= $3 AND metric_id < $4"
        " AND occurred_at >= $5 AND occurred_at < $6"
        " AND metric_type IN ('request_count', 'error_rate', 'response_time') GROUP BY 1, 2, 3",
        minute.tenant_no,
        minute.project_no,
        *span,
        minute.begins_at,
        until,
    )
    return [_metric(row) for row in rows]


async def list_values(
    tx: Tx,
    owner: tuple[int, int],
    route: str | None,
    span: tuple[datetime, datetime],
    after: Sequence[Any],
    limit: int,
) -> list[Values]:
    """Return the values of a project's minutes in order, corrections behind what they correct.

    ``owner``: numbers of tenant and project. ``after``: minute in µs, correction and route of the last one shown.
    """
    rows = await tx.fetch(
        "SELECT minute, correction, route, made_at, measured FROM event_streams"
        " WHERE tenant_no = $1 AND project_no = $2 AND ($3::text IS NULL OR route = $3)"
        " AND minute >= $4 AND minute < $5 AND (minute, correction, route) > ($6, $7, $8)"
        " ORDER BY minute, correction, route LIMIT $9",
        *owner,
        route,
        *span,
        *after,
        limit,
    )
    return [Values(*tuple(row)) for row in rows]


async def list_payloads(
    tx: Tx, owner: tuple[int, int], ids: tuple[UUID, UUID], limit: int
) -> list[tuple[UUID, datetime, str, str]]:
    """Return what attacks sent: (id, when, event type, text) in order of ids, after one id and before another."""
    rows = await tx.fetch(
        "SELECT * FROM (SELECT event_id, occurred_at, event_type, left(coalesce(metadata->>'content_preview',"
        " metadata->>'trigger_info'), 2000) AS said FROM events WHERE tenant_no = $1 AND project_no = $2"
        " AND event_id > $3 AND event_id < $4 AND metadata IS NOT NULL) AS e WHERE said <> ''"
        " ORDER BY event_id LIMIT $5",
        *owner,
        *ids,
        limit,
    )
    return [tuple(row) for row in rows]


async def forget_minutes(tx: Tx, before: datetime) -> None:
    """Forget minutes of all tenants that began before an instant."""
    for table in ("event_streams", "event_minutes"):
        await tx.run(f"DELETE FROM {table} WHERE minute < $1", before)


_MEANS: Final = "response_time"


def _metric(row: Any) -> SeenMetric:
    metric_type, value, endpoint, weight, times = row
    if metric_type == _MEANS:
        return SeenMetric(metric_type, value, endpoint, weight)
    return SeenMetric(metric_type, value * times, endpoint)
