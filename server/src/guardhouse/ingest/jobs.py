"""What intake remembers of past requests is forgotten in time."""

from datetime import timedelta
from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.ingest import store

PRUNED_AT_ONCE: Final = 5000
RECEIPTS_KEPT: Final = timedelta(days=14)
QUARANTINE_KEPT: Final = timedelta(days=30)


@every(300, "ingest.prune_batches")
async def prune_batches(context: JobContext) -> None:
    """Delete answered batches whose time is over, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune_batches(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return


@every(300, "ingest.prune_telemetry")
async def prune_telemetry(context: JobContext) -> None:
    """Delete receipts and marks after 14 days, what is in quarantine after 30, in short steps."""
    resources = context.resources
    now = resources.clock.now()
    for prune, kept in (
        (store.prune_receipts, RECEIPTS_KEPT),
        (store.prune_seen, RECEIPTS_KEPT),
        (store.prune_unread, QUARANTINE_KEPT),
    ):
        gone = PRUNED_AT_ONCE
        while gone == PRUNED_AT_ONCE:
            async with system_transaction(resources.database) as tx:
                gone = await prune(tx, now - kept, PRUNED_AT_ONCE)
