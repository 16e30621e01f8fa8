"""What only reads runs: lists."""

from dataclasses import astuple, dataclass
from datetime import datetime
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.runs.store import RUN, Run


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; None = all."""

    status: str | None = None
    money_state: str | None = None
    pack_type: str | None = None
    label: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


async def list_runs(tx: Tx, tenant_id: UUID, wanted: RunFilter, before: UUID | None, most: int) -> list[Run]:
    """Return runs of a tenant, newest first."""
    rows = await tx.fetch(
        f"SELECT {RUN} FROM runs WHERE runs.tenant_id = $1 AND ($2::uuid IS NULL OR run_id < $2)"
        " AND ($4::text IS NULL OR status = $4) AND ($5::text IS NULL OR money_state = $5)"
        " AND ($6::text IS NULL OR pack_type = $6) AND ($7::text IS NULL OR label = $7)"
        " AND ($8::timestamptz IS NULL OR created_at >= $8) AND ($9::timestamptz IS NULL OR created_at < $9)"
        " ORDER BY run_id DESC LIMIT $3",
        tenant_id,
        before,
        most,
        *astuple(wanted),
    )
    return [Run(*row) for row in rows]
