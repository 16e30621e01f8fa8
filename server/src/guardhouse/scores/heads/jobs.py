"""Heads by schedule: each day shadows end, and tenants that judged enough get their next head."""

import asyncio
from datetime import timedelta
from typing import Final

from guardhouse.analysis.risk.head import FIRST_JUDGED
from guardhouse.analysis.risk.train_head import LEAST_CONFIRMED, JudgedRun, train_head
from guardhouse.foundation import logs
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.scores.heads import store
from guardhouse.scores.heads.switch import IN_SHADOW, end_shadow
from guardhouse.scores.heads.train import keep, pick, read

PROCESSES_A_READ: Final = 50
WAIT: Final = timedelta(hours=24)  # an attack in progress is not taken as harmless
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
        await _train(resources, tenant, alphabet)


async def _train(resources: Resources, tenant: TenantKey, alphabet: str) -> None:
    """Train a head where enough is judged, with no transaction held while reading on and thinking."""
    now = resources.clock.now()
    kept = timedelta(days=resources.settings.events_retention_days)
    async with tenant_transaction(resources.database, tenant) as tx:
        picked = await pick(tx, tenant.no, alphabet, (now - kept, now - WAIT))
    if picked is None:
        return
    runs: list[JudgedRun] = []
    for first in range(0, len(picked.judged), PROCESSES_A_READ):
        async with tenant_transaction(resources.database, tenant) as tx:
            for process, confirmed in picked.judged[first : first + PROCESSES_A_READ]:
                runs += await read(tx, process, confirmed=confirmed)
    made = await asyncio.to_thread(train_head, runs, picked.version, alphabet)
    if made is None:
        return
    async with tenant_transaction(resources.database, tenant) as tx:
        kept_it = await keep(tx, tenant, made, now)
    _log.info("verdict_head_trained", version=picked.version, alphabet=alphabet, auc=made.auc, kept=kept_it)
