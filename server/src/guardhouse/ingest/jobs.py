"""What intake remembers of past requests is forgotten in time."""

from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.ingest import store

PRUNED_AT_ONCE: Final = 5000


@every(300, "ingest.prune_batches")
async def prune_batches(context: JobContext) -> None:
    """Delete answered batches whose time is over, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune_batches(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return
