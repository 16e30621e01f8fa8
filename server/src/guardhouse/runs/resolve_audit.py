"""A person decides about the money of a run whose stored result contradicts its row."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunAuditResolved
from guardhouse.runs import store
from guardhouse.runs.finish import completed, end, failed
from guardhouse.runs.states import told
from guardhouse.runs.store import Run

Decision = Literal["settle", "release"]
AUDITED: Final = "status = 'PROCESSING' AND money_state = 'AUDIT_REQUIRED'"


class NotInAudit(Problem):
    """Nothing about the run's money waits for a decision."""

    status, code, title = 409, "not_in_audit", "The run is not in audit"
    remediation = "Only runs whose `money_state` is AUDIT_REQUIRED are decided by people."


async def resolve_audit(
    tx: Tx, staff: Actor, run_id: UUID, decision: Decision, note: str, now: datetime
) -> Run:
    """Settle the run at the price that its row fixed, or release its whole hold; the audit log keeps who and why.

    Raises:
        NotFound: there is no such run.
        NotInAudit: nothing waits for a decision.
    """
    run = await store.find_any_run(tx, run_id)
    if run is None:
        raise NotFound("There is no such run.")
    if run.money_state != "AUDIT_REQUIRED":
        raise NotInAudit(f"The money of the run is {run.money_state}.")
    how = (
        completed(run, AUDITED)
        if decision == "settle"
        else failed(run, "WORKER_CRASH_DURING_FINALIZE", note, AUDITED)
    )
    ended = await end(tx, run, how, now)
    if ended is None:
        raise NotInAudit("Somebody else has decided.")
    await publish_all(tx, [told(RunAuditResolved, ended)])
    entry = Entry("run.resolve_audit", f"run:{run_id}", after={"decision": decision}, reason=note)
    await record(tx, Actor(run.tenant_id, f"platform:{staff.name}", staff.credential), entry)
    return ended
