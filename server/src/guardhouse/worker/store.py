"""The workers that are alive: one row each, renewed every few seconds, for doctor and metrics."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Text, Uuid, delete, select
from sqlalchemy.dialects.postgresql import insert

from guardhouse.foundation.database import Tx, metadata

FORGOTTEN: Final = timedelta(days=1)

workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker process and when it was last seen."""

    id: UUID
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime


async def see(tx: Tx, worker: WorkerRow) -> None:
    """Write that a worker is alive, and forget those not seen for a day."""
    statement = insert(workers).values(
        id=worker.id,
        host=worker.host,
        pid=worker.pid,
        started_at=worker.started_at,
        seen_at=worker.seen_at,
    )
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"seen_at": statement.excluded.seen_at})
    )
    await tx.execute(delete(workers).where(workers.c.seen_at < worker.seen_at - FORGOTTEN))


async def forget(tx: Tx, worker_id: UUID) -> None:
    """Remove a worker that stopped in order."""
    await tx.execute(delete(workers).where(workers.c.id == worker_id))


async def list_workers(tx: Tx) -> list[WorkerRow]:
    """Return every worker, the one seen last first."""
    found = await tx.execute(select(workers).order_by(workers.c.seen_at.desc()))
    return [WorkerRow(row.id, row.host, row.pid, row.started_at, row.seen_at) for row in found]
