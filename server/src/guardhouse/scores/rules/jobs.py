"""Rules on a schedule: shadows end when their time is over, old counts of hits go."""

from datetime import timedelta
from typing import Final

from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.rules import store
from guardhouse.scores.rules.end_shadow import end_shadow

AT_ONCE: Final = 100
HITS_KEPT: Final = timedelta(days=100)  # longer than the longest shadow


@every(300, "scores.end_shadows")
async def end_shadows(context: JobContext) -> None:
    """Let the rules count whose shadow is over."""
    resources = context.resources
    now = resources.clock.now()
    while True:
        async with system_transaction(resources.database) as tx:
            ended = await store.list_ended(tx, now, AT_ONCE)
        for shadow in ended:
            async with system_transaction(resources.database) as tx:
                await end_shadow(tx, shadow, now)
        if len(ended) < AT_ONCE:
            return


@every(86_400, "scores.prune_rule_hits")
async def prune_rule_hits(context: JobContext) -> None:
    """Forget the hits of days that nothing shows any more."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.prune_hits(tx, (resources.clock.now() - HITS_KEPT).date())
