"""What people said of detections goes with the detections, and the texts that they handed over with it."""

from datetime import timedelta
from typing import Final

from guardhouse.detections.feedback import store
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction

YOUNG: Final = timedelta(days=1)
PRUNED_AT_ONCE: Final = 5_000


@every(3600, "detections.prune_feedback")
async def prune_feedback(context: JobContext) -> None:
    """Forget words on detections that are no longer kept, in short transactions."""
    before = context.resources.clock.now() - YOUNG
    gone = PRUNED_AT_ONCE
    while gone == PRUNED_AT_ONCE:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune(tx, before, PRUNED_AT_ONCE)
