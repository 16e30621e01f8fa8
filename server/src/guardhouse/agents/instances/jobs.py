"""What becomes of processes behind the requests: contacts are taken in, silence is told, the long gone are archived."""

from datetime import timedelta
from typing import Final

from guardhouse.agents.instances import queries, store
from guardhouse.agents.instances.fold import fold
from guardhouse.agents.instances.settle import settle
from guardhouse.agents.instances.state import AHEAD
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction

SETTLED_AT_ONCE: Final = 500
ARCHIVED_AFTER: Final = timedelta(days=30)


@every(10, "agents.fold_contacts")
async def fold_contacts(context: JobContext) -> None:
    """Take the contacts of every project into its instances, in short steps."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        places = await queries.list_waiting_projects(tx, resources.clock.now())
    for place in places:
        more = True
        while more:
            async with system_transaction(resources.database) as tx:
                more = await fold(tx, place)


@every(30, "agents.watch_instances")
async def watch_instances(context: JobContext) -> None:
    """Tell which processes have fallen silent, and archive those not heard for 30 days, in short steps."""
    resources = context.resources
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        places = await queries.list_due_projects(tx, now, now + AHEAD)
    for place in places:
        looked_at = SETTLED_AT_ONCE
        while looked_at == SETTLED_AT_ONCE:
            async with system_transaction(resources.database) as tx:
                await fold(tx, place)  # whoever was heard a moment ago is not silent
                due = await store.list_due(tx, place.project_no, now, now + AHEAD, SETTLED_AT_ONCE)
                await settle(tx, place, due)
            looked_at = len(due)
    archived = SETTLED_AT_ONCE
    while archived == SETTLED_AT_ONCE:
        async with system_transaction(resources.database) as tx:
            archived = await store.archive(tx, now - ARCHIVED_AFTER, now, SETTLED_AT_ONCE)
