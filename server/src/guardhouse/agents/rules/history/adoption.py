"""Who has a revision: the processes that were given it, by their polls, and those that say they applied it."""

from datetime import datetime, timedelta
from typing import Final

from guardhouse.agents.projects.read import load_project
from guardhouse.agents.rules import queries, store
from guardhouse.agents.rules.publish import take_rules_turn
from guardhouse.agents.rules.queries import Adoption
from guardhouse.agents.rules.store import Place, Revision
from guardhouse.foundation.database import Tx
from guardhouse.notices.app_rule_kinds import RulesAdopted
from guardhouse.notices.publish import Origin, publish

POLLED_WITHIN: Final = timedelta(minutes=15)  # three polls of a released client
APPLIED_WITHIN: Final = timedelta(minutes=10)  # a poll, and the event of it
ADOPTED_WITHIN: Final = timedelta(days=7)


async def adoption_of(tx: Tx, place: Place, revision: Revision, now: datetime) -> Adoption:
    """Return how many processes have a revision or a later one."""
    late = now - revision.published_at > APPLIED_WITHIN
    return await queries.count_adoption(tx, place, revision.number, now - POLLED_WITHIN, late=late)


async def tell_adopted(tx: Tx, place: Place, now: datetime) -> bool:
    """Tell, once, that every process that polls has applied the newest change; tells whether it did."""
    await take_rules_turn(tx, place)
    revision = await queries.get_newest_change(tx, place)
    if revision is None or revision.adopted_at is not None:
        return False
    found = await adoption_of(tx, place, revision, now)
    if found.waiting or found.applied == 0 or found.applied < found.served:
        return False
    project = await load_project(tx, place.tenant_id, place.project_id)
    await store.mark_adopted(tx, place, revision.number, now)
    said = RulesAdopted(
        project_id=str(project.id),
        project=project.slug,
        revision=revision.number,
        instances=found.applied,
        seconds=int((now - revision.published_at).total_seconds()),
    )
    await publish(
        tx,
        said,
        tenant_id=place.tenant_id,
        subject_seq=revision.number,
        origin=Origin(project_id=project.id),
    )
    return True
