"""Texts that wait for the worker, and the batches they belong to: tables and statements."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)
_STATES: Final = "state IN ('queued', 'running', 'completed', 'failed')"

detection_batches = Table(
    "detection_batches",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("webhook_url", Text),
    Column("total", Integer, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("finished_at", _INSTANT),
    PrimaryKeyConstraint("tenant_id", "id"),
)

detection_inputs = Table(
    "detection_inputs",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("batch_id", Uuid),
    Column("place", Integer, nullable=False),
    Column("name", Text),
    Column("kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("project_id", Uuid),
    Column("state", Text, nullable=False),
    Column("packed", LargeBinary),
    Column("error", JSONB),
    Column("finished_at", _INSTANT),
    PrimaryKeyConstraint("tenant_id", "id"),
    CheckConstraint(_STATES, name="state"),
    CheckConstraint("(packed IS NULL) = (state IN ('completed', 'failed'))", name="packed"),
    Index(
        "detection_inputs_batch_id_idx",
        "tenant_id",
        "batch_id",
        "place",
        postgresql_where=text("batch_id IS NOT NULL"),
    ),
    Index("detection_inputs_at_idx", "at"),
    Index("detection_inputs_waiting_idx", "tenant_id", "at", postgresql_where=text("packed IS NOT NULL")),
)


class Input(NamedTuple):
    """A text that waits, in the order of the columns; ``packed`` is what was asked, zstd over JSON."""

    tenant_id: UUID
    id: UUID
    at: datetime
    batch_id: UUID | None
    place: int
    name: str | None
    kind: str
    credential: str
    project_id: UUID | None
    state: str
    packed: bytes | None
    error: dict[str, Any] | None = None
    finished_at: datetime | None = None


class Batch(NamedTuple):
    """A batch, in the order of the columns."""

    tenant_id: UUID
    id: UUID
    at: datetime
    kind: str
    credential: str
    webhook_url: str | None
    total: int
    succeeded: int
    failed: int
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How an input ended: with a record, or with a problem."""

    id: UUID
    error: dict[str, Any] | None = field(default=None)

    @property
    def state(self) -> str:
        """Its last state."""
        return "completed" if self.error is None else "failed"


_COLUMNS: Final = ", ".join(name if name != "error" else "error::text AS error" for name in Input._fields)


async def add_batch(tx: Tx, batch: Batch) -> None:
    """Insert a batch."""
    await tx.run(f"INSERT INTO detection_batches VALUES ({_places(len(batch))})", *batch)


async def add_inputs(tx: Tx, inputs: Sequence[Input]) -> None:
    """Insert inputs; those that are wrong already come with their error."""
    await tx.run_many(
        f"INSERT INTO detection_inputs VALUES ({_places(11)}, $12::text::jsonb, $13)",
        [one._replace(error=_json(one.error)) for one in inputs],  # type: ignore[arg-type] # as it is sent
    )


async def load_inputs(tx: Tx, tenant_id: UUID, ids: Sequence[UUID]) -> list[Input]:
    """Return the inputs that still wait, and mark them as running."""
    rows = await tx.fetch(
        "UPDATE detection_inputs SET state = 'running' WHERE tenant_id = $1 AND id = ANY ($2::uuid[])"
        f" AND state IN ('queued', 'running') RETURNING {_COLUMNS}",
        tenant_id,
        list(ids),
    )
    return [_input(row) for row in rows]


async def end_inputs(tx: Tx, tenant_id: UUID, ended: Sequence[Ended], now: datetime) -> set[UUID]:
    """Write how inputs ended and forget what they held; returns those that had not ended before."""
    rows = await tx.fetch(
        "UPDATE detection_inputs i SET state = e.state, error = e.error::jsonb, packed = NULL, finished_at = $5"
        " FROM unnest($2::uuid[], $3::text[], $4::text[]) AS e (id, state, error)"
        " WHERE i.tenant_id = $1 AND i.id = e.id AND i.state IN ('queued', 'running') RETURNING i.id",
        tenant_id,
        [one.id for one in ended],
        [one.state for one in ended],
        [_json(one.error) for one in ended],
        now,
    )
    return {row["id"] for row in rows}


async def count_up(
    tx: Tx, tenant_id: UUID, batch_id: UUID, counts: tuple[int, int], now: datetime
) -> Batch | None:
    """Add to what succeeded and failed of a batch; returns the batch when that was its last."""
    row = await tx.fetch_row(
        "UPDATE detection_batches SET succeeded = succeeded + $3, failed = failed + $4,"
        " finished_at = CASE WHEN succeeded + failed + $3 + $4 >= total THEN $5::timestamptz END"
        f" WHERE tenant_id = $1 AND id = $2 RETURNING {', '.join(Batch._fields)}",
        tenant_id,
        batch_id,
        *counts,
        now,
    )
    return None if row is None or row["finished_at"] is None else Batch(*row)


async def find_input(tx: Tx, tenant_id: UUID, input_id: UUID) -> Input | None:
    """Return one input."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM detection_inputs WHERE tenant_id = $1 AND id = $2", tenant_id, input_id
    )
    return None if row is None else _input(row)


async def find_batch(tx: Tx, tenant_id: UUID, batch_id: UUID) -> Batch | None:
    """Return one batch."""
    row = await tx.fetch_row(
        f"SELECT {', '.join(Batch._fields)} FROM detection_batches WHERE tenant_id = $1 AND id = $2",
        tenant_id,
        batch_id,
    )
    return None if row is None else Batch(*row)


async def list_inputs(tx: Tx, tenant_id: UUID, batch_id: UUID, after: int, limit: int) -> list[Input]:
    """Return the items of a batch in their order, after a place."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM detection_inputs WHERE tenant_id = $1 AND batch_id = $2 AND place > $3"
        " ORDER BY place LIMIT $4",
        tenant_id,
        batch_id,
        after,
        limit,
    )
    return [_input(row) for row in rows]


async def count_waiting(tx: Tx, tenant_id: UUID, most: int) -> int:
    """Return how many inputs of a tenant wait, counting no further than ``most``."""
    found: int = await tx.fetch_value(
        "SELECT count(*) FROM (SELECT FROM detection_inputs WHERE tenant_id = $1 AND packed IS NOT NULL LIMIT $2) AS w",
        tenant_id,
        most,
    )
    return found


async def prune(tx: Tx, before: datetime, limit: int) -> int:
    """Forget inputs, and batches, of before an instant, at most ``limit``; returns how many inputs."""
    gone = await tx.delete_before("detection_inputs", "at", before, limit)
    await tx.run("DELETE FROM detection_batches WHERE at < $1", before)
    return gone


def _places(count: int) -> str:
    return ", ".join(f"${number}" for number in range(1, count + 1))


def _json(error: dict[str, Any] | None) -> str | None:
    return None if error is None else msgspec.json.encode(error).decode()


def _input(row: Any) -> Input:
    found = Input(*row)
    return found if found.error is None else found._replace(error=msgspec.json.decode(str(found.error)))
