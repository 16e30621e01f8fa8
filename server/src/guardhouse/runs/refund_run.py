"""Give back what a run was charged, in part or whole; the run says how much, the books say when and why."""

from datetime import datetime
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.money import format_usd
from guardhouse.ledger.refund import Refund, RefundExceedsCharge, refund
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunRefunded
from guardhouse.runs import store
from guardhouse.runs.states import told
from guardhouse.runs.store import Run


async def refund_run(
    tx: Tx, actor: Actor, run_id: UUID, amount: int | None, reason: str, now: datetime
) -> tuple[Run, UUID]:
    """Refund a run: so many micros, or all that is left of its charge; return the run and the refund's id.

    Raises:
        NotFound: there is no such run.
        RefundExceedsCharge: more than is left of its charge, which may be nothing.
    """
    run = await store.find_run(tx, actor.tenant_id, run_id, lock=True)
    if run is None:
        raise NotFound("There is no such run.")
    left = (run.charged or 0) - run.refunded_micros
    given = left if amount is None else amount
    if not 0 < given <= left:
        raise RefundExceedsCharge(
            f"{format_usd(left)} dollars are left of the charge.", left_usd=format_usd(left)
        )
    refund_id = new_id()
    await refund(tx, actor.tenant_id, Refund(refund_id, run_id, given, reason), actor.name, now)
    money_state = "REFUNDED" if given == left else run.money_state
    sets = {"refunded_micros": run.refunded_micros + given, "money_state": money_state}
    refunded = await store.change(tx, run, now, sets)
    if refunded is None:
        raise RuntimeError("a locked run was changed")
    await publish_all(tx, [told(RunRefunded, refunded)])
    after = {"amount_usd": format_usd(given), "refund_id": str(refund_id)}
    await record(tx, actor, Entry("run.refund", f"run:{run_id}", after=after, reason=reason))
    return refunded, refund_id
