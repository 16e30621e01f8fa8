"""Spent nonces are forgotten once their signatures are stale anyway."""

from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import store

PRUNED_AT_ONCE: Final = 5000


@every(60, "identity.prune_nonces")
async def prune_nonces(context: JobContext) -> None:
    """Delete expired nonces, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune_nonces(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return
