"""What the worker does for the foundation itself: dead letters and kept answers come to their end."""

from typing import Final

from guardhouse.foundation import idempotency, jobs_claim
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction

PRUNED_AT_ONCE: Final = 1000


@every(3600, "jobs.prune_dead")
async def prune_dead_letters(context: JobContext) -> None:
    """Delete dead letters after 30 days."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            if await jobs_claim.prune_dead(tx, context.resources.clock.now()) == 0:
                return


@every(600, "idempotency.prune")
async def prune_answers(context: JobContext) -> None:
    """Delete answers kept under Idempotency-Keys after their day, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await idempotency.prune(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return
