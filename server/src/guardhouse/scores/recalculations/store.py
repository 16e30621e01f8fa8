"""Recalculations that run as jobs: one row each, with what came out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata
from guardhouse.scores.store import GROUP_OF_AGENT

Mode = Literal["verify", "current"]
State = Literal["waiting", "running", "done", "failed"]
_INSTANT = DateTime(timezone=True)

risk_recalculations = Table(
    "risk_recalculations",
    metadata,
    Column("recalculation_id", Uuid, primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text),
    Column("since", _INSTANT),
    Column("until", _INSTANT),
    Column("mode", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("result", JSONB),
    Column("asked_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    Index("risk_recalculations_tenant_no_created_at_idx", "tenant_no", "created_at", "recalculation_id"),
)


@dataclass(frozen=True, slots=True)
class AskedJob:
    """One recalculation of an agent's processes: those with events in [since, until), or the one of ``key``.

    ``result`` is what came out, for a failed one the problem.
    """

    id: UUID
    tenant_no: int
    agent_no: int
    agent_id: str
    group: str
    key: str | None
    since: datetime | None
    until: datetime | None
    mode: Mode
    dry_run: bool
    state: State
    events: int
    result: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


_COLUMNS: Final = (
    f"r.recalculation_id, r.tenant_no, r.agent_no, a.agent_id, {GROUP_OF_AGENT}, r.key, r.since,"
    " r.until, r.mode, r.dry_run, r.state, r.events, r.result, r.created_at, r.finished_at"
)
_FROM: Final = "FROM risk_recalculations r JOIN host_agents a USING (agent_no)"


async def add(tx: Tx, made: AskedJob, asked_by: str) -> None:
    """Write down a recalculation that was asked for."""
    await tx.run(
        "INSERT INTO risk_recalculations (recalculation_id, tenant_no, agent_no, key, since, until, mode, dry_run,"
        " state, events, asked_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11)",
        made.id,
        made.tenant_no,
        made.agent_no,
        made.key,
        made.since,
        made.until,
        made.mode,
        made.dry_run,
        made.state,
        asked_by,
        made.created_at,
    )


async def get(tx: Tx, tenant_no: int, recalculation_id: UUID) -> AskedJob | None:
    """Return a recalculation of a tenant."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} {_FROM} WHERE r.tenant_no = $1 AND r.recalculation_id = $2",
        tenant_no,
        recalculation_id,
    )
    return None if row is None else AskedJob(*row)


async def list_asked(tx: Tx, tenant_no: int, limit: int, after: Sequence[Any] | None) -> list[AskedJob]:
    """Return recalculations, the newest first; ``after`` = (created_at, id)."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} {_FROM} WHERE r.tenant_no = $1 AND ($3::timestamptz IS NULL"
        " OR (r.created_at, r.recalculation_id) < ($3, $4::uuid))"
        " ORDER BY r.created_at DESC, r.recalculation_id DESC LIMIT $2",
        tenant_no,
        limit,
        *(after or (None, None)),
    )
    return [AskedJob(*row) for row in rows]


async def go_on(tx: Tx, recalculation_id: UUID, events: int) -> None:
    """Note how many events have been applied so far."""
    await tx.run(
        "UPDATE risk_recalculations SET state = 'running', events = $2 WHERE recalculation_id = $1",
        recalculation_id,
        events,
    )


async def finish(
    tx: Tx, recalculation_id: UUID, state: State, result: Mapping[str, Any], now: datetime
) -> None:  # fmt: skip
    """End a recalculation with its result, or the problem that ended it."""
    await tx.run(
        "UPDATE risk_recalculations SET state = $2, result = $3, finished_at = $4 WHERE recalculation_id = $1",
        recalculation_id,
        state,
        msgspec.json.encode(result).decode(),
        now,
    )


async def prune(tx: Tx, before: datetime) -> int:
    """Forget what was asked before an instant; returns how many."""
    rows = await tx.fetch(
        "DELETE FROM risk_recalculations WHERE created_at < $1 RETURNING recalculation_id", before
    )
    return len(rows)


async def list_taken(
    tx: Tx, agent_no: int, kinds: Sequence[str], after: int, until: int
) -> list[tuple[int, str, dict[str, Any]]]:
    """Return (position, kind, what): what an agent has taken at the positions behind `after` up to `until`."""
    rows = await tx.fetch(
        "SELECT position, kind, data FROM process_inputs WHERE agent_no = $1 AND kind = ANY($2::text[])"
        " AND position > $3 AND position <= $4 ORDER BY position, n",
        agent_no,
        list(kinds),
        after,
        until,
    )
    return [(row["position"], row["kind"], row["data"]) for row in rows]
