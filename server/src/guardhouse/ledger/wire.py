"""Shapes of money on the wire: dollars as strings of four decimals, and the same as integer micros."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.money import UsdIn, UsdOut, format_usd
from guardhouse.foundation.pages import Pagination
from guardhouse.ledger.deposit import Deposit
from guardhouse.ledger.queries import OpenHold
from guardhouse.ledger.store import Balance, DepositRow, Transfer
from guardhouse.ledger.verify import Verified

Micros = Annotated[int, Field(description="Millionths of a dollar, a multiple of 100.")]
Account = Literal["funding", "available", "held", "revenue", "writeoff"]
TransferKind = Literal[
    "top_up", "grant", "hold", "post", "release", "expire", "refund", "withdraw", "forfeit"
]
Hash = Annotated[str, Field(pattern="^[0-9a-f]*$", description="SHA-256 in hexadecimal.")]


class BalanceShape(BaseModel):
    """The prepaid money of the tenant: `funded` is what came in, the rest says where it is now."""

    model_config = ConfigDict(title="Balance")

    currency: Literal["USD"] = "USD"
    available_usd: UsdOut
    held_usd: UsdOut
    spent_usd: UsdOut
    funded_usd: UsdOut
    written_off_usd: UsdOut
    available_micros: Micros
    open_holds: Annotated[int, Field(ge=0)]
    seq: Annotated[int, Field(description="Number of the newest transfer.")]
    block: Annotated[int, Field(description="Number of the newest block of the chain.")]
    head_hash: Hash
    as_of: datetime


def balance_shape(balance: Balance, open_holds: int, now: datetime) -> BalanceShape:
    """Show the accounts."""
    return BalanceShape(
        available_usd=format_usd(balance.available),
        held_usd=format_usd(balance.held),
        spent_usd=format_usd(balance.revenue),
        funded_usd=format_usd(balance.funding),
        written_off_usd=format_usd(balance.writeoff),
        available_micros=balance.available,
        open_holds=open_holds,
        seq=balance.seq,
        block=balance.block,
        head_hash=balance.head.hex(),
        as_of=now,
    )


class TopUpRequest(BaseModel):
    """A payment to credit. The same reference again is the same payment."""

    model_config = ConfigDict(extra="forbid", title="TopUpRequest")

    amount_usd: UsdIn
    payment_ref: Annotated[
        str, Field(min_length=1, max_length=200, examples=["inv-2026-114"], pattern=r"^[ -~]+$")
    ]
    method: Annotated[str, Field(max_length=50)] = ""
    note: Annotated[str, Field(max_length=500)] = ""


class TopUpShape(BaseModel):
    """A payment in the books; `created` is false when it was there already."""

    model_config = ConfigDict(title="TopUp")

    top_up_id: UUID
    amount_usd: UsdOut
    amount_micros: Micros
    payment_ref: str
    created: bool
    created_at: datetime
    balance_after_usd: UsdOut
    seq: int


def top_up_shape(made: Deposit, payment_ref: str, balance: Balance) -> TopUpShape:
    """Show a credited payment beside the balance of now."""
    return TopUpShape(
        top_up_id=made.deposit_id,
        amount_usd=format_usd(made.amount),
        amount_micros=made.amount,
        payment_ref=payment_ref,
        created=made.created,
        created_at=made.created_at,
        balance_after_usd=format_usd(balance.available),
        seq=balance.seq,
    )


class DepositShape(BaseModel):
    """Money that came in."""

    model_config = ConfigDict(title="Deposit")

    top_up_id: UUID
    kind: Literal["top_up", "grant", "withdraw", "forfeit"]
    provider: str
    payment_ref: str
    amount_usd: UsdOut
    amount_micros: Micros
    method: str
    note: str
    created_by: str
    created_at: datetime


class DepositList(BaseModel):
    """A page of deposits, newest first."""

    data: list[DepositShape]
    pagination: Pagination


def deposit_shape(row: DepositRow) -> DepositShape:
    """Show one deposit."""
    return DepositShape(
        top_up_id=row.deposit_id,
        kind=row.kind,
        provider=row.provider,
        payment_ref=row.payment_ref,
        amount_usd=format_usd(row.amount),
        amount_micros=row.amount,
        method=row.method,
        note=row.note,
        created_by=row.actor,
        created_at=row.created_at,
    )


class TransferShape(BaseModel):
    """One movement: from the debited account to the credited one."""

    model_config = ConfigDict(title="Transfer")

    seq: int
    kind: TransferKind
    debit: Account
    credit: Account
    amount_usd: UsdOut
    amount_micros: Micros
    run_id: UUID | None
    ref: str | None
    created_at: datetime


class TransferList(BaseModel):
    """A page of transfers, newest first."""

    data: list[TransferShape]
    pagination: Pagination


def transfer_shape(one: Transfer) -> TransferShape:
    """Show one transfer."""
    return TransferShape(
        seq=one.seq,
        kind=one.kind,
        debit=one.debit,
        credit=one.credit,
        amount_usd=format_usd(one.amount),
        amount_micros=one.amount,
        run_id=one.run_id,
        ref=one.ref,
        created_at=one.created_at,
    )


class HoldShape(BaseModel):
    """Money that waits for the end of a run."""

    model_config = ConfigDict(title="Hold")

    run_id: UUID
    amount_usd: UsdOut
    amount_micros: Micros
    created_at: datetime


class HoldList(BaseModel):
    """A page of open holds, oldest first."""

    data: list[HoldShape]
    pagination: Pagination


def hold_shape(one: OpenHold) -> HoldShape:
    """Show one open hold."""
    return HoldShape(
        run_id=one.run_id,
        amount_usd=format_usd(one.amount),
        amount_micros=one.amount,
        created_at=one.created_at,
    )


class VerificationShape(BaseModel):
    """The books, recomputed from their rows: every hash, every number, every account."""

    model_config = ConfigDict(title="LedgerVerification")

    whole: Annotated[bool, Field(description="Nothing is missing, changed or out of balance.")]
    transfers: int
    blocks: int
    head_hash: Hash
    faults: list[str]
    as_of: datetime


def verification_shape(found: Verified, now: datetime) -> VerificationShape:
    """Show what a walk through the books found."""
    return VerificationShape(
        whole=not found.faults,
        transfers=found.transfers,
        blocks=found.blocks,
        head_hash=found.head.hex(),
        faults=found.faults,
        as_of=now,
    )
