"""A top-up: a deposit, the audit entry that says who credited it, and the notice that tells of it."""

from datetime import datetime

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.money import format_usd
from guardhouse.ledger import store
from guardhouse.ledger.deposit import Deposit, Payment, deposit
from guardhouse.notices.ledger_kinds import LedgerTopUp
from guardhouse.notices.publish import publish


async def top_up(tx: Tx, actor: Actor, payment: Payment, now: datetime) -> Deposit:
    """Credit a payment to the actor's tenant, once; a repeat records and tells nothing.

    Raises:
        PaymentRefReused: the payment is in the books with another amount.
    """
    made = await deposit(tx, actor.tenant_id, payment, actor.name, new_id(), now)
    if not made.created:
        return made
    after = {
        "amount_usd": format_usd(payment.amount),
        "provider": payment.provider,
        "payment_ref": payment.payment_ref,
    }
    await record(tx, actor, Entry("ledger.top_up", f"top_up:{made.deposit_id}", after=after))
    balance = await store.read_balance(tx, actor.tenant_id)
    told = LedgerTopUp(
        top_up_id=made.deposit_id,
        amount_usd=format_usd(payment.amount),
        balance_after_usd=format_usd(balance.available),
        payment_ref=payment.payment_ref,
    )
    await publish(tx, told, tenant_id=actor.tenant_id, subject_seq=balance.seq)
    return made
