"""Unused tickets do not pile up."""

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.live import store


@every(600, "live.prune_tickets")
async def prune_tickets(context: JobContext) -> None:
    """Delete expired tickets."""
    async with system_transaction(context.resources.database) as tx:
        await store.prune_tickets(tx, context.resources.clock.now())
