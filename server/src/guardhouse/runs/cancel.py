"""Ask for the end of a run: a queued one ends now and free, one at work as soon as its worker hears of it."""

from datetime import datetime
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.runs import store
from guardhouse.runs.finish import QUEUED, cancelled, end
from guardhouse.runs.store import Run


class RunTerminal(Problem):
    """The run has ended."""

    status, code, title = 409, "run_terminal", "The run has ended"
    remediation = "Read its result; a charge can be refunded, not cancelled."


class RunFinishing(Problem):
    """The run's result is being stored; it cannot be stopped any more."""

    status, code, title = 409, "run_finishing", "The run is finishing"
    remediation = "Wait the seconds in Retry-After and read the run."


async def cancel(tx: Tx, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """End a run, or ask its worker to; once asked, asking again changes nothing.

    Raises:
        NotFound: there is no such run.
        RunTerminal: it has ended otherwise.
        RunFinishing: its result is being stored.
    """
    run = await store.find_run(tx, tenant_id, run_id, lock=True)
    if run is None:
        raise NotFound("There is no such run.")
    if run.status == "CANCELLED":
        return run
    if not run.is_open:
        raise RunTerminal(f"The run is {run.status}.")
    if run.finalize_stage is not None:
        raise RunFinishing("The result is being stored.", headers={"Retry-After": "2"})
    if run.status == "QUEUED":
        ended = await end(tx, run, cancelled(run, QUEUED, at_work=False), now)
        if ended is None:
            raise RuntimeError("a locked run was changed")
        return ended
    return await store.ask_to_cancel(tx, run, now)
