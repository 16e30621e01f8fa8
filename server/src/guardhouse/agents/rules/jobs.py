"""What becomes of the rules of apps by time: revisions that are due, word that all have one, documents of the past."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.agents.rules import queries, store
from guardhouse.agents.rules.follow_time import follow_time
from guardhouse.agents.rules.history.adoption import ADOPTED_WITHIN, tell_adopted
from guardhouse.agents.rules.store import Place
from guardhouse.foundation.jobs import GiveUp, JobContext, When, enqueue, every, job
from guardhouse.foundation.transaction import system_transaction, tenant_transaction

DUE_AT_ONCE: Final = 1000
DOCUMENTS_KEPT: Final = timedelta(days=30)


class OfProject(msgspec.Struct):
    """The project whose rules are meant."""

    project_id: UUID


@job("agents.follow_rules")
async def follow_rules(context: JobContext, of: OfProject) -> None:
    """Publish the revision of one project that is due."""
    if context.tenant is None:
        raise GiveUp("rules belong to a tenant")
    async with tenant_transaction(context.resources.database, context.tenant) as tx:
        await follow_time(tx, Place(context.tenant.id, of.project_id), context.resources.clock.now())


@every(5, "agents.find_due_rules")
async def find_due_rules(context: JobContext) -> None:
    """Queue the projects whose rules are due: each is a job of its own, so that none holds up the others."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        for due in await queries.list_due(tx, resources.clock.now(), DUE_AT_ONCE):
            when = When(unique_key=str(due.project_id))
            await enqueue(tx, follow_rules, OfProject(due.project_id), tenant=due.tenant, when=when)


@every(30, "agents.tell_adopted_rules")
async def tell_adopted_rules(context: JobContext) -> None:
    """Tell of revisions that every process has applied, each once."""
    resources = context.resources
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        untold = await queries.list_untold(tx, now - ADOPTED_WITHIN)
    for due in untold:
        async with system_transaction(resources.database) as tx:
            await tell_adopted(tx, Place(due.tenant.id, due.project_id), now)


@every(3600, "agents.prune_rule_documents", lease_seconds=600)
async def prune_rule_documents(context: JobContext) -> None:
    """Forget documents of a month ago, which can be made again."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.prune_documents(tx, resources.clock.now() - DOCUMENTS_KEPT)
