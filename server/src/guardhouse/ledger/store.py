"""Tables of the ledger and the statements on them.

The application inserts holds, resolutions, deposits and refunds and reads everything; balances, transfers and the
chain of blocks are written by the database's own functions (migration 0037).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from guardhouse.foundation.database import Tx, metadata

OVERDRAWN: Final = "GH402"
OVER_REFUNDED: Final = "GH409"
_INSTANT = DateTime(timezone=True)
_LATER: Final[dict[str, Any]] = {"deferrable": True, "initially": "DEFERRED"}

ledger_balances = Table(
    "ledger_balances",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("funding", "available", "held", "revenue", "writeoff", "seq", "block")
    ),
    Column("head", LargeBinary, nullable=False),
    CheckConstraint(
        "funding >= 0 AND available >= 0 AND held >= 0 AND revenue >= 0 AND writeoff >= 0",
        name="none_negative",
    ),
    CheckConstraint("funding = available + held + revenue + writeoff", name="books_balance"),
)

ledger_transfers = Table(
    "ledger_transfers",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("run_id", Uuid),
    Column("ref", Text),
    Column("created_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
    Index("ledger_transfers_run_id_idx", "tenant_id", "run_id"),
)

ledger_blocks = Table(
    "ledger_blocks",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "block"),
)

ledger_holds = Table(
    "ledger_holds",
    metadata,
    Column("run_id", Uuid, ForeignKey("runs.run_id", **_LATER), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    UniqueConstraint("run_id", "amount"),
    Index("ledger_holds_tenant_id_idx", "tenant_id", "run_id"),
)

ledger_resolutions = Table(
    "ledger_resolutions",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("run_open", Boolean, nullable=False),
    Column("hold_amount", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("resolved_at", _INSTANT, nullable=False),
    UniqueConstraint("run_id", "posted"),
    UniqueConstraint("run_id", "run_open"),
    ForeignKeyConstraint(["run_id", "hold_amount"], ["ledger_holds.run_id", "ledger_holds.amount"]),
    ForeignKeyConstraint(["run_id", "run_open"], ["runs.run_id", "runs.is_open"], **_LATER),
    Index("ledger_resolutions_hold_idx", "run_id", "hold_amount"),
    Index("ledger_resolutions_tenant_id_idx", "tenant_id", "run_id"),
)

run_usage_daily = Table(
    "run_usage_daily",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("usage_date", Date, nullable=False),
    Column("pack_type", Text, nullable=False),
    Column("price_version", Text, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            "runs_count",
            "success_count",
            "fail_count",
            "cancelled_count",
            "cost_micros",
            "reserved_micros",
        )
    ),
    PrimaryKeyConstraint("tenant_id", "usage_date", "pack_type", "price_version"),
)

ledger_deposits = Table(
    "ledger_deposits",
    metadata,
    Column("deposit_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("payment_ref", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("method", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    UniqueConstraint("tenant_id", "provider", "payment_ref", name="ledger_deposits_payment_ref_key"),
    Index("ledger_deposits_tenant_id_idx", "tenant_id", "deposit_id"),
)

ledger_refunds = Table(
    "ledger_refunds",
    metadata,
    Column("refund_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("run_id", Uuid, ForeignKey("runs.run_id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Index("ledger_refunds_run_id_idx", "run_id"),
)

ledger_budgets = Table(
    "ledger_budgets",
    metadata,
    Column("budget_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("scope", Text, nullable=False),
    Column("scope_id", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("limit_micros", BigInteger, nullable=False),
    Column("used_micros", BigInteger, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("told_percent", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    UniqueConstraint("tenant_id", "scope", "scope_id", "period", name="ledger_budgets_scope_key"),
    CheckConstraint("used_micros >= 0 AND limit_micros > 0 AND used_micros <= limit_micros", name="limit"),
)

ledger_budget_uses = Table(
    "ledger_budget_uses",
    metadata,
    Column("run_id", Uuid, ForeignKey("runs.run_id"), nullable=False),
    Column("budget_id", Uuid, ForeignKey("ledger_budgets.budget_id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("period_start", Date, nullable=False),
    PrimaryKeyConstraint("run_id", "budget_id"),
    Index("ledger_budget_uses_budget_id_idx", "budget_id"),
)


@dataclass(frozen=True, slots=True)
class Balance:
    """The five accounts of a tenant in micros, and where its chain stands."""

    funding: int = 0
    available: int = 0
    held: int = 0
    revenue: int = 0
    writeoff: int = 0
    seq: int = 0
    block: int = 0
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement between two accounts."""

    seq: int
    kind: str
    debit: str
    credit: str
    amount: int
    run_id: UUID | None
    ref: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Block:
    """The transfers of one statement, chained to those before."""

    block: int
    first_seq: int
    last_seq: int
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class DepositRow:
    """Money that came in, as it is in the books."""

    deposit_id: UUID
    kind: str
    provider: str
    payment_ref: str
    amount: int
    method: str
    note: str
    actor: str
    created_at: datetime


TRANSFER: Final = "seq, kind, debit, credit, amount, run_id, ref, created_at"
DEPOSIT: Final = "deposit_id, kind, provider, payment_ref, amount, method, note, actor, created_at"


async def read_balance(tx: Tx, tenant_id: UUID) -> Balance:
    """Return the accounts of a tenant; one that never had money has zeros."""
    rows = await tx.fetch(
        "SELECT funding, available, held, revenue, writeoff, seq, block, head FROM ledger_balances"
        " WHERE tenant_id = $1",
        tenant_id,
    )
    return Balance(*rows[0]) if rows else Balance()


async def insert_holds(
    tx: Tx, tenant_id: UUID, run_ids: Sequence[UUID], amounts: Sequence[int], at: datetime
) -> None:
    """Hold money for runs that are made in the same transaction."""
    await tx.fetch(
        "INSERT INTO ledger_holds (run_id, tenant_id, amount, created_at)"
        " SELECT run_id, $1, amount, $4 FROM unnest($2::uuid[], $3::bigint[]) AS asked(run_id, amount)",
        tenant_id,
        run_ids,
        amounts,
        at,
    )


async def insert_resolutions(tx: Tx, rows: Sequence[tuple[Any, ...]], at: datetime) -> None:
    """Resolve holds: (run, tenant, hold, outcome, posted, reason) each; the rest of the hold is released."""
    await tx.fetch(
        "INSERT INTO ledger_resolutions (run_id, tenant_id, run_open, hold_amount, outcome, posted, released, reason,"
        " resolved_at) SELECT run_id, tenant_id, false, hold, outcome, posted, hold - posted, reason, $7"
        " FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[])"
        " AS asked(run_id, tenant_id, hold, outcome, posted, reason)",
        *(list(column) for column in zip(*rows, strict=True)),
        at,
    )


async def insert_deposit(tx: Tx, values: Sequence[Any]) -> bool:
    """Credit a payment once; False when this payment of this provider is in the books already."""
    rows = await tx.fetch(
        "INSERT INTO ledger_deposits (deposit_id, tenant_id, kind, provider, payment_ref, amount, method, note, actor,"
        " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING deposit_id",
        *values,
    )
    return bool(rows)


async def find_deposit(tx: Tx, tenant_id: UUID, provider: str, payment_ref: str) -> DepositRow | None:
    """Return the deposit of a payment, or None."""
    rows = await tx.fetch(
        f"SELECT {DEPOSIT} FROM ledger_deposits WHERE tenant_id = $1 AND provider = $2 AND payment_ref = $3",
        tenant_id,
        provider,
        payment_ref,
    )
    return DepositRow(*rows[0]) if rows else None


async def insert_refund(tx: Tx, values: Sequence[Any]) -> None:
    """Give back part of a charge."""
    await tx.fetch(
        "INSERT INTO ledger_refunds (refund_id, tenant_id, run_id, amount, reason, actor, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        *values,
    )


async def read_transfers(tx: Tx, tenant_id: UUID, after: int, most: int) -> list[Transfer]:
    """Return transfers after a number, in order."""
    rows = await tx.fetch(
        f"SELECT {TRANSFER} FROM ledger_transfers WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        tenant_id,
        after,
        most,
    )
    return [Transfer(*row) for row in rows]


async def read_blocks(tx: Tx, tenant_id: UUID, after: int, most: int) -> list[Block]:
    """Return blocks after a number, in order."""
    rows = await tx.fetch(
        "SELECT block, first_seq, last_seq, prev_hash, hash FROM ledger_blocks"
        " WHERE tenant_id = $1 AND block > $2 ORDER BY block LIMIT $3",
        tenant_id,
        after,
        most,
    )
    return [Block(*row) for row in rows]


async def lock_available(tx: Tx, tenant_id: UUID) -> int:
    """Return what a tenant may still hold, and keep all others from its balance until the transaction ends."""
    rows = await tx.fetch("SELECT ledger_lock($1)", tenant_id)
    found: int = rows[0][0]
    return found
