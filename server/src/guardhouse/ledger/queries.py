"""What only reads the books: lists, spans and counts."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.ledger.store import DEPOSIT, TRANSFER, DepositRow, Transfer


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold that is not resolved."""

    run_id: UUID
    amount: int
    created_at: datetime


async def list_deposits(tx: Tx, tenant_id: UUID, before: UUID | None, most: int) -> list[DepositRow]:
    """Return deposits, newest first."""
    rows = await tx.fetch(
        f"SELECT {DEPOSIT} FROM ledger_deposits WHERE tenant_id = $1 AND ($2::uuid IS NULL OR deposit_id < $2)"
        " ORDER BY deposit_id DESC LIMIT $3",
        tenant_id,
        before,
        most,
    )
    return [DepositRow(*row) for row in rows]


async def list_open_holds(tx: Tx, tenant_id: UUID, after: UUID | None, most: int) -> list[OpenHold]:
    """Return holds that are not resolved, oldest first."""
    rows = await tx.fetch(
        "SELECT run_id, amount, created_at FROM ledger_holds AS h WHERE tenant_id = $1"
        " AND ($2::uuid IS NULL OR run_id > $2)"
        " AND NOT EXISTS (SELECT FROM ledger_resolutions AS r WHERE r.run_id = h.run_id) ORDER BY run_id LIMIT $3",
        tenant_id,
        after,
        most,
    )
    return [OpenHold(*row) for row in rows]


async def count_open_holds(tx: Tx, tenant_id: UUID) -> int:
    """Return how many holds are not resolved: as many as runs are open, which an index knows."""
    found = await tx.fetch("SELECT count(*) FROM runs WHERE tenant_id = $1 AND is_open", tenant_id)
    number: int = found[0][0]
    return number


async def list_transfers(
    tx: Tx, tenant_id: UUID, before: int | None, most: int, run_id: UUID | None, kind: str | None
) -> list[Transfer]:
    """Return transfers, newest first; of one run or kind where asked."""
    rows = await tx.fetch(
        f"SELECT {TRANSFER} FROM ledger_transfers"
        " WHERE tenant_id = $1 AND ($2::bigint IS NULL OR seq < $2) AND ($4::uuid IS NULL OR run_id = $4)"
        " AND ($5::text IS NULL OR kind = $5) ORDER BY seq DESC LIMIT $3",
        tenant_id,
        before,
        most,
        run_id,
        kind,
    )
    return [Transfer(*row) for row in rows]


async def read_span(tx: Tx, tenant_id: UUID, since: datetime, until: datetime, most: int) -> list[Transfer]:
    """Return the transfers of a span of time, in order."""
    rows = await tx.fetch(
        f"SELECT {TRANSFER} FROM ledger_transfers"
        " WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 ORDER BY seq LIMIT $4",
        tenant_id,
        since,
        until,
        most,
    )
    return [Transfer(*row) for row in rows]


async def sums_before(tx: Tx, tenant_id: UUID, seq: int) -> dict[str, int]:
    """Return what the accounts stood at before a transfer, in micros; funding is negative by what came in."""
    rows = await tx.fetch(
        "SELECT account, sum(amount)::bigint AS amount FROM ("
        " SELECT debit AS account, -amount AS amount FROM ledger_transfers WHERE tenant_id = $1 AND seq < $2"
        " UNION ALL SELECT credit, amount FROM ledger_transfers WHERE tenant_id = $1 AND seq < $2"
        ") AS moved GROUP BY account",
        tenant_id,
        seq,
    )
    return {row["account"]: row["amount"] for row in rows}
