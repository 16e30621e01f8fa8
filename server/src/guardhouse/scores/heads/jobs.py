"""Heads by schedule: each day shadows end, and tenants that judged enough get their next head."""

from datetime import timedelta

from guardhouse.analysis.risk.head import FIRST_JUDGED
from guardhouse.analysis.risk.train_head import LEAST_CONFIRMED
from guardhouse.foundation import logs
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.scores.heads import store
from guardhouse.scores.heads.switch import IN_SHADOW, end_shadow
from guardhouse.scores.heads.train import train

_log = logs.get(__name__)


@every(86_400, "scores.train_heads", lease_seconds=3600)
async def train_heads(context: JobContext) -> None:
    """Switch on what was good in shadow, train where a week has passed, forget what was off for long."""
    resources = context.resources
    now = resources.clock.now()
    kept = timedelta(days=resources.settings.events_retention_days)
    async with system_transaction(resources.database) as tx:
        ended = await store.list_ended(tx, now - IN_SHADOW)
    for tenant, version in ended:
        async with tenant_transaction(resources.database, tenant) as tx:
            await end_shadow(tx, tenant, version, now)
    async with system_transaction(resources.database) as tx:
        await store.prune(tx, now - kept)
        wanted = await store.list_trainable(tx, now - IN_SHADOW, LEAST_CONFIRMED, FIRST_JUDGED)
    for tenant, alphabet in wanted:
        made = await train(resources, tenant, alphabet)
        if made is not None:
            _log.info("verdict_head_trained", version=made.version, alphabet=alphabet, auc=made.auc)
