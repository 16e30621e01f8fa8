"""Go back: the rules of an earlier revision become the ones in force, as a new and higher revision."""

from dataclasses import replace

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.check_rule import Faults
from guardhouse.agents.rules.operations import Authorship, check_forced
from guardhouse.agents.rules.publish import Published, place_of, publish_rules, take_rules_turn
from guardhouse.agents.rules.store import StoredRule
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound


async def restore_revision(tx: Tx, project: Project, number: int, by: Authorship) -> Published:
    """Put the rules of a revision into force again; those that are over by now stay out, and so do its releases.

    Raises:
        NotFound: there is no such revision.
        AppRuleInvalid: a ban that comes back hits guarded addresses, and is not forced.
        TurnTooLate: the transaction has written before.
    """
    place = place_of(by.actor.tenant_id, project)
    await take_rules_turn(tx, place)
    if await queries.get_revision(tx, place, number) is None:
        raise NotFound("There is no such revision.")
    before = await queries.list_rules(tx, place)
    standing = {rule.id: rule for rule in before}
    after = [
        _standing_or(old, standing.get(old.id))
        for old in await queries.list_rules_of(tx, place, number)
        if not _is_passing(old)
    ]
    after += [rule for rule in before if _is_passing(rule)]
    faults = Faults()
    for rule in after:
        if standing.get(rule.id) != rule:
            check_forced(rule.rule, by, faults, "")
    faults.raise_any()
    by = replace(by, cause="restore", restored=number)
    return await publish_rules(tx, project, before, after, by)


def _is_passing(rule: StoredRule) -> bool:
    """Tell whether a rule is a release that followed from a ban's end: it belongs to its moment."""
    return rule.rule.kind == "release_net" and rule.source == "auto"


def _standing_or(old: StoredRule, now: StoredRule | None) -> StoredRule:
    """Return the rule as it stands if nothing of it has changed since, else as it was."""
    if now is not None and replace(old, since=now.since, until=now.until) == now:
        return now
    return replace(old, until=None)
