"""Money comes in: a payment is credited once, however often its provider or payer tells of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.money import format_usd
from guardhouse.ledger import store


class PaymentRefReused(Problem):
    """The payment is in the books with another amount."""

    status, code, title = 409, "payment_ref_reused", "Payment reference reused"
    remediation = "Use the reference of one payment for that payment only."


@dataclass(frozen=True, slots=True)
class Payment:
    """What was paid: by which provider under which reference, in micros."""

    provider: str
    payment_ref: str
    amount: int
    kind: Literal["top_up", "grant"] = "top_up"
    method: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Deposit:
    """A payment in the books; ``created`` is False when it was there already."""

    deposit_id: UUID
    amount: int
    created: bool
    created_at: datetime


async def deposit(
    tx: Tx, tenant_id: UUID, payment: Payment, actor: str, deposit_id: UUID, now: datetime
) -> Deposit:
    """Credit a payment to a tenant, once.

    Raises:
        PaymentRefReused: it is in the books with another amount or kind.
    """
    made = await store.insert_deposit(
        tx,
        (
            deposit_id,
            tenant_id,
            payment.kind,
            payment.provider,
            payment.payment_ref,
            payment.amount,
            payment.method,
            payment.note,
            actor,
            now,
        ),
    )
    if made:
        return Deposit(deposit_id, payment.amount, created=True, created_at=now)
    known = await store.find_deposit(tx, tenant_id, payment.provider, payment.payment_ref)
    if known is None or (known.amount, known.kind) != (payment.amount, payment.kind):
        was = "" if known is None else f" with {format_usd(known.amount)} dollars"
        raise PaymentRefReused(f"{payment.payment_ref!r} is in the books{was}.")
    return Deposit(known.deposit_id, known.amount, created=False, created_at=known.created_at)
