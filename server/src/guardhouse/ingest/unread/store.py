"""Statements on the quarantine of one project. The tables are in ``ingest.store``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.ingest.store import Owner


@dataclass(frozen=True, slots=True)
class KeptUnread:
    """One item or body in quarantine, without its bytes."""

    no: int
    received_at: datetime
    kind: str
    batch_id: str | None
    index: int | None
    code: str
    detail: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What a project has in quarantine, and how many of its rows were dropped for want of room."""

    bytes: int
    dropped: int


_COLUMNS: Final = "quarantine_no, received_at, kind, batch_id, index, code, detail, bytes"


async def list_unread(tx: Tx, owner: Owner, limit: int, before: int | None) -> Sequence[KeptUnread]:
    """Return what is in quarantine, newest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM quarantine WHERE tenant_no = $1 AND project_no = $2"
        " AND ($4::bigint IS NULL OR quarantine_no < $4) ORDER BY quarantine_no DESC LIMIT $3",
        owner.tenant_no,
        owner.project_no,
        limit,
        before,
    )
    return [KeptUnread(*row) for row in rows]


async def get_unread(tx: Tx, owner: Owner, no: int) -> tuple[KeptUnread, bytes] | None:
    """Return one row with its bytes."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS}, raw FROM quarantine WHERE tenant_no = $1 AND project_no = $2 AND quarantine_no = $3",
        owner.tenant_no,
        owner.project_no,
        no,
    )
    if row is None:
        return None
    *members, raw = row
    return KeptUnread(*members), raw


async def get_totals(tx: Tx, owner: Owner) -> Totals:
    """Return how much a project has in quarantine."""
    row = await tx.fetch_row(
        "SELECT bytes, dropped FROM quarantine_totals WHERE tenant_no = $1 AND project_no = $2",
        owner.tenant_no,
        owner.project_no,
    )
    return Totals(0, 0) if row is None else Totals(row[0], row[1])


async def delete_unread(tx: Tx, owner: Owner, no: int) -> bool:
    """Take one row out of quarantine; False when it is not there."""
    gone: int = await tx.fetch_value(
        "WITH gone AS (DELETE FROM quarantine WHERE tenant_no = $1 AND project_no = $2 AND quarantine_no = $3"
        "  RETURNING bytes),"
        " told AS (UPDATE quarantine_totals t SET bytes = t.bytes - g.bytes FROM gone g"
        "  WHERE t.tenant_no = $1 AND t.project_no = $2)"
        " SELECT count(*) FROM gone",
        owner.tenant_no,
        owner.project_no,
        no,
    )
    return gone > 0
