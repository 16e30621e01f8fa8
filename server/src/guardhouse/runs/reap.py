"""What time alone does to runs: silent workers lose them, queued ones run out, nobody's hold stays for ever."""

from datetime import datetime
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunRequeued
from guardhouse.runs import store
from guardhouse.runs.finish import LEASE_LOST, QUEUED, cancelled, end, failed
from guardhouse.runs.states import told
from guardhouse.runs.store import Run

AT_ONCE: Final = 100


async def reap(tx: Tx, run: Run, now: datetime) -> Run | None:
    """Move on one run that is overdue; None: it is not any more.

    A lost lease sends it back to the queue while attempts are left, and ends it free of charge otherwise. The lease is
    compared in the very statement that takes it: a heartbeat that came in between wins.
    """
    if run.status == "QUEUED":
        late = f"{QUEUED} AND queued_at + queue_seconds * interval '1 second' < $3"
        return await end(
            tx, run, failed(run, "RESERVATION_EXPIRED", "No worker was free in time.", late), now
        )
    if run.cancel_requested_at is not None:
        return await end(tx, run, cancelled(run, LEASE_LOST, at_work=False), now)
    if run.attempt < run.max_attempts:
        sets = {"status": "QUEUED", "lease_token": None, "lease_expires_at": None, "queued_at": now}
        queued = await store.change(tx, run, now, sets, LEASE_LOST)
        if queued is not None:
            await publish_all(tx, [told(RunRequeued, queued)])
        return queued
    detail = f"Its worker fell silent, {run.attempt} times."
    return await end(tx, run, failed(run, "WORKER_TIMEOUT", detail, LEASE_LOST), now)
