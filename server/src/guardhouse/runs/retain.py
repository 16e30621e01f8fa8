"""End the life of results: objects first, then the row says EXPIRED; what it cost stays to be read."""

import contextlib
from datetime import datetime
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.foundation.objects import ObjectStore
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunExpired
from guardhouse.runs import store
from guardhouse.runs.states import told
from guardhouse.runs.store import Run

AT_ONCE: Final = 500


async def forget_objects(objects: ObjectStore, run: Run) -> None:
    """Delete what a run has stored; reads are refused already, by its retention time."""
    for pointer in run.result_objects or ():
        with contextlib.suppress(OSError):
            await objects.delete(pointer["key"])


async def expire(tx: Tx, run: Run, now: datetime) -> Run | None:
    """Take inputs and pointers from an ended run; None: it was not there to be expired."""
    sets = {"status": "EXPIRED", "inputs": None, "result_objects": None, "receipt": None}
    expired = await store.change(tx, run, now, sets, "NOT is_open AND retention_until <= $3")
    if expired is not None:
        await publish_all(tx, [told(RunExpired, expired)])
    return expired
