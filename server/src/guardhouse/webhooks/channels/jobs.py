"""Summaries of what channels held back are published when they are due; old subjects go."""

from datetime import timedelta
from typing import Final

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices.channel_kinds import ChannelSummary
from guardhouse.notices.publish import publish
from guardhouse.webhooks.channels import store
from guardhouse.webhooks.store import next_notice

AT_ONCE: Final = 100
PRUNED_AT_ONCE: Final = 5000
DAYS_KEPT: Final = 30


@every(10, "webhooks.summarise_channels")
async def summarise_channels(context: JobContext) -> None:
    """Say how many notices each channel held back, once per channel that is due."""
    resources = context.resources
    due = AT_ONCE
    while due == AT_ONCE:
        now = resources.clock.now()
        async with system_transaction(resources.database) as tx:
            taken = await store.take_due(tx, now, AT_ONCE)
            for channel_id, tenant_id, tally in taken:
                number = await next_notice(tx, channel_id)
                if number is None:  # removed meanwhile
                    continue
                data = ChannelSummary(
                    channel_id=channel_id,
                    held=tally.held,
                    since=rfc3339(tally.held_since or now),
                    worst=tally.held_worst,
                )
                await publish(tx, data, tenant_id=tenant_id, subject_seq=number)
        due = len(taken)


@every(3600, "webhooks.prune_channels")
async def prune_channels(context: JobContext) -> None:
    """Forget subjects that nothing was said of for thirty days, in short transactions."""
    resources = context.resources
    gone = PRUNED_AT_ONCE
    while gone == PRUNED_AT_ONCE:
        async with system_transaction(resources.database) as tx:
            gone = await store.prune(tx, resources.clock.now() - timedelta(days=DAYS_KEPT), PRUNED_AT_ONCE)
