"""What the worker does for the engine itself."""

from guardhouse.foundation import jobs_claim
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction


@every(3600, "jobs.prune_dead")
async def prune_dead_letters(context: JobContext) -> None:
    """Delete dead letters after 30 days."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            if await jobs_claim.prune_dead(tx, context.resources.clock.now()) == 0:
                return
