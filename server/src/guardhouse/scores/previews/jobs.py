"""Run previews, and forget old ones."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.foundation.jobs import GiveUp, JobContext, every, job
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.previews import preview, store

MAX_ATTEMPTS: Final = 3
KEPT: Final = timedelta(days=30)


class PreviewWork(msgspec.Struct):
    """Which preview to run."""

    tenant_no: int
    preview_id: UUID


@job("scores.preview", lease_seconds=120)
async def run_preview(context: JobContext, work: PreviewWork) -> None:
    """Try a change out and write the result down; after three attempts the preview has failed."""
    resources = context.resources

    def opened() -> Any:
        return system_transaction(resources.database)

    async with opened() as tx:
        found = await store.get(tx, work.tenant_no, work.preview_id)
    if found is None or found.state != "running":
        return
    if context.attempt > MAX_ATTEMPTS:
        async with opened() as tx:
            await store.finish(tx, work.tenant_no, work.preview_id, "failed", None, resources.clock.now())
        raise GiveUp("the preview was tried three times")
    result = await preview.run(found, opened)
    async with opened() as tx:
        await store.finish(tx, work.tenant_no, work.preview_id, "done", result, resources.clock.now())


@every(86_400, "scores.prune_previews")
async def prune_previews(context: JobContext) -> None:
    """Forget previews of more than a month ago."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.prune(tx, resources.clock.now() - KEPT)
