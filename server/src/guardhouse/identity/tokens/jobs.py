"""Signing keys are made in time and dropped when done; spent assertions and old revocations are forgotten."""

from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.tokens import signing_keys, store

PRUNED_AT_ONCE: Final = 5000


@every(3600, "identity.keep_signing_keys")
async def keep_signing_keys(context: JobContext) -> None:
    """Make the next signing key a day before it is needed, drop those whose last token has expired."""
    async with system_transaction(context.resources.database) as tx:
        await signing_keys.keep_keys(tx, context.resources.clock, context.resources.master_key)


@every(60, "identity.prune_tokens")
async def prune_tokens(context: JobContext) -> None:
    """Delete what was kept about tokens and assertions that have expired, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return
