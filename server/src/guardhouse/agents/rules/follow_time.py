"""Publish what time alone makes of an app's rules: one begins, one is over, or bans are to be told again."""

from collections.abc import Iterable
from datetime import datetime

from guardhouse.agents.projects.read import load_project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.operations import Authorship
from guardhouse.agents.rules.publish import Published, publish_rules, take_rules_turn
from guardhouse.agents.rules.store import Place, Revision, StoredRule
from guardhouse.audit.record import Actor
from guardhouse.foundation.database import Tx

AUTHOR = "system:rules"


async def follow_time(tx: Tx, place: Place, now: datetime) -> Published | None:
    """Publish the revision of a project that is due; None when there is none, because another was here before."""
    await take_rules_turn(tx, place)
    newest = await queries.get_newest(tx, place)
    if newest is None or newest.due_at is None or newest.due_at > now:
        return None
    project = await load_project(tx, place.tenant_id, place.project_id)
    rules = await queries.list_rules(tx, place)
    by = Authorship(Actor(place.tenant_id, AUTHOR), now, cause=_cause(rules, newest, now))
    return await publish_rules(tx, project, rules, rules, by)


def _cause(rules: Iterable[StoredRule], newest: Revision, now: datetime) -> str:
    live = [stored.rule for stored in rules if stored.rule.enabled]
    if any(rule.expires_at is not None and rule.expires_at <= now for rule in live):
        return "expiry"
    if any(rule.starts_at is not None and newest.published_at < rule.starts_at <= now for rule in live):
        return "start"
    return "renewal"
