"""Previews: the table and its statements. The row is the truth; the job that fills it is a hint."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata
from guardhouse.scores.store import GROUP_OF_AGENT

_INSTANT = DateTime(timezone=True)

score_previews = Table(
    "score_previews",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("preview_id", Uuid, primary_key=True),
    Column("asked", JSONB, nullable=False),
    Column("since", _INSTANT, nullable=False),
    Column("until", _INSTANT, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", JSONB),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("finished_at", _INSTANT),
    CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
    Index("score_previews_tenant_no_made_at_idx", "tenant_no", "made_at"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What was asked about which span of time, by whom, and what came of it."""

    id: UUID
    tenant_no: int
    asked: Mapping[str, Any]
    since: datetime
    until: datetime
    state: str
    result: Mapping[str, Any] | None
    made_at: datetime
    made_by: str
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Watched:
    """An agent whose events are judged, and the group that it shares baselines with."""

    agent_no: int
    agent_id: str
    group: str


_SELECT: Final = (
    "SELECT preview_id, tenant_no, asked::text AS asked, since, until, state, result::text AS result, made_at, made_by,"
    " finished_at FROM score_previews"
)


async def add(tx: Tx, preview: Preview) -> None:
    """Insert a preview that has not run."""
    await tx.run(
        "INSERT INTO score_previews (preview_id, tenant_no, asked, since, until, state, made_at, made_by)"
        " VALUES ($1, $2, $3::text::jsonb, $4, $5, $6, $7, $8)",
        preview.id,
        preview.tenant_no,
        msgspec.json.encode(preview.asked).decode(),
        preview.since,
        preview.until,
        preview.state,
        preview.made_at,
        preview.made_by,
    )


async def get(tx: Tx, tenant_no: int, preview_id: UUID) -> Preview | None:
    """Return a preview of the tenant."""
    row = await tx.fetch_row(f"{_SELECT} WHERE tenant_no = $1 AND preview_id = $2", tenant_no, preview_id)
    return None if row is None else _preview(row)


async def count_running(tx: Tx, tenant_no: int) -> int:
    """Return how many previews of a tenant have not ended."""
    return int(
        await tx.fetch_value(
            "SELECT count(*) FROM score_previews WHERE tenant_no = $1 AND state = 'running'", tenant_no
        )
    )


async def finish(
    tx: Tx, tenant_no: int, preview_id: UUID, state: str, result: Mapping[str, Any] | None, now: datetime
) -> None:
    """Write down how a preview ended, once."""
    await tx.run(
        "UPDATE score_previews SET state = $3, result = $4::text::jsonb, finished_at = $5"
        " WHERE tenant_no = $1 AND preview_id = $2 AND state = 'running'",
        tenant_no,
        preview_id,
        state,
        None if result is None else msgspec.json.encode(result).decode(),
        now,
    )


async def prune(tx: Tx, before: datetime) -> None:
    """Forget the previews of all tenants that were made before an instant."""
    await tx.run("DELETE FROM score_previews WHERE made_at < $1", before)


async def list_watched(tx: Tx, tenant_no: int, agent_id: str | None, limit: int) -> list[Watched]:
    """Return a tenant's agents by number, or the one named."""
    rows = await tx.fetch(
        f"SELECT a.agent_no, a.agent_id, {GROUP_OF_AGENT} AS group_name FROM host_agents a"
        " WHERE a.tenant_no = $1 AND ($2::text IS NULL OR a.agent_id = $2) AND a.next_position > 1"
        " ORDER BY a.agent_no LIMIT $3",
        tenant_no,
        agent_id,
        limit,
    )
    return [Watched(*row) for row in rows]


def _preview(row: Any) -> Preview:
    values = list(row)
    values[2] = msgspec.json.decode(values[2])
    values[6] = None if values[6] is None else msgspec.json.decode(values[6])
    return Preview(*values)
