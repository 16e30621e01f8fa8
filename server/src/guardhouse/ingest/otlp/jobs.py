"""Receipts of exports are forgotten when no client would still retry them."""

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.ingest.otlp import store
from guardhouse.ingest.otlp.accept_export import RETRIED


@every(300, "ingest.forget_exports")
async def forget_exports(context: JobContext) -> None:
    """Forget exports older than the span in which a retry is told apart from a new one."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.forget_receipts(tx, resources.clock.now() - RETRIED)
