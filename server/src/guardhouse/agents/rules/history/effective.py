"""The rules of one process: what it would get now, and what it got last."""

import json
from uuid import UUID

from guardhouse.agents.instances.store import Instance
from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.ask import asker_of_known
from guardhouse.agents.rules.history.wire import EffectiveRules, group_shape
from guardhouse.agents.rules.publish import place_of
from guardhouse.agents.rules.serve_rules import document_of
from guardhouse.agents.rules.store import Document, Place, Revision
from guardhouse.agents.rules.wire import DynamicRulesShape
from guardhouse.analysis.abuse.target import Asker, matched
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound


async def effective_rules(
    tx: Tx, tenant_id: UUID, project: Project, instance: Instance | None
) -> EffectiveRules:
    """Return the rules of a process of a project, or of one of which nothing is known.

    Raises:
        NotFound: it is a process of another project.
    """
    place = place_of(tenant_id, project)
    newest = await queries.get_newest(tx, place)
    if instance is None:
        current = await _document(tx, place, project.slug, newest, Asker())
        return EffectiveRules(current=None if current is None else group_shape(current))
    known = await queries.find_instance(tx, place, instance.id)
    if known is None:
        raise NotFound("There is no such instance.")
    asker = asker_of_known(known)
    current = await _document(tx, place, project.slug, newest, asker)
    then = None
    if instance.rules_served:
        then = await queries.get_revision(tx, place, instance.rules_served)
    served = await _document(tx, place, project.slug, then, asker)
    return EffectiveRules(
        instance=str(instance.id),
        current=None if current is None else group_shape(current),
        served_revision=instance.rules_served,
        served=None if served is None else DynamicRulesShape(**json.loads(served.text)),
        applied_revision=instance.rules_applied,
    )


async def _document(
    tx: Tx, place: Place, slug: str, revision: Revision | None, asker: Asker
) -> Document | None:
    if revision is None:
        return None
    return await document_of(tx, place, slug, revision, matched(revision.targets, asker))
