"""Change the rules of an app: all of a list of operations or none, as one revision, in the caller's transaction.

Whoever calls has written nothing in the transaction yet: changes of a project are in one line by its turn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules import queries, store
from guardhouse.agents.rules.ask import asker_of_known
from guardhouse.agents.rules.check_rule import RELEASE
from guardhouse.agents.rules.documents import make_document
from guardhouse.agents.rules.operations import (
    Add,
    Authorship,
    Change,
    NewRule,
    Operation,
    Remove,
    apply_to,
    guarded_of,
    made,
)
from guardhouse.agents.rules.store import Place, Revision, StoredRule
from guardhouse.agents.rules.warn import warnings_of
from guardhouse.analysis.abuse.due import next_due
from guardhouse.analysis.abuse.target import EVERYONE, Target, matched
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.notices.app_rule_kinds import RulesPublished, RulesRolledBack
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.publish import Origin, publish, take_turn

__all__ = [
    "Add", "Authorship", "Change", "NewRule", "Operation", "Outcome", "Published", "Remove", "apply_operations",
    "guarded_of", "outcome_of", "place_of", "publish_rules", "recorded", "take_rules_turn",
]  # fmt: skip
CHANNEL: Final = "app_rules"  # NOTIFY with the project's id: agents that wait for its next revision
BY_TIME: Final = frozenset({"start", "expiry", "renewal"})


@dataclass(frozen=True, slots=True)
class Published:
    """What a change came to. ``added``: rules that are new or changed; ``ended``: as they were before.

    ``made``: of the added ones those that were asked for by :class:`Add`, in that order. A change that makes no
    difference publishes nothing: the revision is the one that stands.
    """

    revision: Revision
    added: tuple[StoredRule, ...]
    ended: tuple[StoredRule, ...]
    made: tuple[StoredRule, ...] = ()


def place_of(tenant_id: UUID, project: Project) -> Place:
    """Return whose rules those of a project are."""
    return Place(tenant_id, project.id)


async def take_rules_turn(tx: Tx, place: Place) -> None:
    """Wait until no other transaction changes the rules of a project; first of all in a transaction."""
    await take_turn(tx, place.tenant_id, f"rules:{place.project_id}")


async def apply_operations(
    tx: Tx, project: Project, operations: Sequence[Operation], by: Authorship
) -> Published:
    """Apply operations in order, one at least, and publish one revision.

    Raises:
        AppRuleInvalid: a value that cannot be taken, or a ban of guarded addresses without force.
        NotFound: no such rule.
        Conflict: more rules than a project may have.
        TurnTooLate: the transaction has written before.
    """
    place = place_of(by.actor.tenant_id, project)
    await take_rules_turn(tx, place)
    before = await queries.list_rules(tx, place)
    after = apply_to(before, operations, by)
    published = await publish_rules(tx, project, before, after, by)
    known = {rule.id for rule in before}
    asked = [rule.id for rule in after if rule.id not in known]
    added = {rule.id: rule for rule in published.added}
    return replace(published, made=tuple(added[rule_id] for rule_id in asked))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule set comes to at an instant: all its rules, which of them are new or changed, which are over."""

    rules: tuple[StoredRule, ...]
    added: tuple[StoredRule, ...]
    ended: tuple[StoredRule, ...]
    revision: Revision


def outcome_of(
    project: Project,
    newest: Revision | None,
    before: Sequence[StoredRule],
    after: Iterable[StoredRule],
    by: Authorship,
) -> Outcome:
    """Return what publishing a rule set would come to.

    Rules that are over are ended with it, and bans that end with it are released in the apps.
    """
    number = newest.number + 1 if newest else 1
    standing = {rule.id: rule for rule in before}
    kept = {rule.id: rule for rule in after if not _is_over(rule, by.now)}
    kept |= {rule.id: rule for rule in released(before, kept.values(), by)}
    rules = [rule.rule for rule in kept.values()]
    targets = {rule.target for rule in rules} - {EVERYONE}
    revision = Revision(
        number=number,
        published_at=by.now,
        author=by.actor.name,
        cause=by.cause,
        reason=by.reason,
        restored=by.restored,
        baseline=baseline_of(project),
        targets=tuple(sorted(targets, key=repr)),
        due_at=next_due(rules, by.now),
    )
    return Outcome(
        tuple(kept.values()),
        tuple(replace(rule, since=number) for rule in kept.values() if standing.get(rule.id) != rule),
        tuple(rule for rule in before if kept.get(rule.id) != rule),
        revision,
    )


async def publish_rules(
    tx: Tx, project: Project, before: Sequence[StoredRule], after: Iterable[StoredRule], by: Authorship
) -> Published:
    """Make a rule set the one in force as the next revision; the turn is the caller's."""
    place = place_of(by.actor.tenant_id, project)
    newest = await queries.get_newest(tx, place)
    found = outcome_of(project, newest, before, after, by)
    revision = found.revision
    if newest is not None and not found.added and not found.ended and by.cause not in BY_TIME:
        return Published(newest, (), ())
    await store.add_revision(tx, place, revision)
    await store.end_rules(tx, place, [rule.id for rule in found.ended], revision.number)
    await store.add_rules(tx, place, found.added)
    rules = [rule.rule for rule in found.rules]
    for group in await living_groups(tx, place, revision.targets):
        await store.keep_document(
            tx, place, revision.number, make_document(project.slug, revision, rules, group)
        )
    await tx.run("SELECT pg_notify($1, $2)", CHANNEL, str(project.id))
    published = Published(revision, found.added, found.ended)
    if by.cause != "renewal":  # it changes nothing for anyone
        await _tell(tx, project, published, by, len(rules))
    return published


async def living_groups(tx: Tx, place: Place, targets: Sequence[Target]) -> dict[tuple[Target, ...], int]:
    """Return the groups that the processes of a project fall into, with how many; everyone's is among them."""
    found: dict[tuple[Target, ...], int] = {(): 0}
    for known in await queries.list_living(tx, place):
        asker = asker_of_known(known)
        group = matched(targets, asker)
        found[group] = found.get(group, 0) + 1
    return found


def baseline_of(project: Project) -> Mapping[str, Any]:
    """Return what a project's app sets in its own code, every member of it; nothing when that is not known."""
    known = project.settings.baseline
    return {} if known is None else msgspec.to_builtins(msgspec.structs.asdict(known))


def released(before: Iterable[StoredRule], after: Iterable[StoredRule], by: Authorship) -> list[StoredRule]:
    """Return the releases that follow from bans which end: apps keep a ban for an hour unless they are told."""
    now = by.now
    stand = {_key(rule) for rule in after if rule.rule.kind == "ban_net" and rule.rule.holds_at(now)}
    found: dict[tuple[str, Target], StoredRule] = {}
    for old in before:
        served = old.rule.kind == "ban_net" and old.rule.enabled and (old.rule.starts_at or now) <= now
        key = _key(old)
        if served and key not in stand and (key[0], EVERYONE) not in stand and key not in found:
            new = NewRule(
                "release_net",
                {"net": key[0]},
                key[1],
                expires_at=now + RELEASE,
                reason=f"The ban {old.id} has ended.",
                source="auto",
            )
            found[key] = made(new, by)
    return list(found.values())


def _key(rule: StoredRule) -> tuple[str, Target]:
    return str(rule.rule.value.get("net")), rule.rule.target


def _is_over(rule: StoredRule, now: datetime) -> bool:
    return rule.rule.expires_at is not None and rule.rule.expires_at <= now


async def _tell(tx: Tx, project: Project, published: Published, by: Authorship, rules: int) -> None:
    """Write the audit entry and the notice of a revision."""
    revision = published.revision
    after: dict[str, Any] = {
        "revision": revision.number,
        "cause": by.cause,
        "rules": [recorded(rule) for rule in published.added],
    }
    after |= {"forced": True} if by.force else {}
    after |= {"restored": revision.restored} if revision.restored else {}
    warned = sorted({warning.code for warning in warnings_of(published.added, revision)})
    after |= {"warnings": warned} if warned else {}
    before = {"rules": [recorded(rule) for rule in published.ended]}
    await record(tx, by.actor, Entry("app_rules.publish", f"project:{project.id}", before, after, by.reason))
    changed = {rule.id for rule in published.added} & {rule.id for rule in published.ended}
    said: NoticeData = RulesPublished(
        project_id=str(project.id),
        project=project.slug,
        revision=revision.number,
        cause=by.cause,
        author=by.actor.name,
        rules=rules,
        added=len(published.added) - len(changed),
        changed=len(changed),
        removed=len(published.ended) - len(changed),
    )
    if revision.restored is not None:
        said = RulesRolledBack(restored=revision.restored, **said.model_dump())
    await publish(
        tx,
        said,
        tenant_id=by.actor.tenant_id,
        subject_seq=revision.number,
        origin=Origin(project_id=project.id),
    )


def recorded(rule: StoredRule) -> dict[str, Any]:
    """Return a rule as the audit log and previews tell it."""
    told = rule.rule
    return {
        "id": str(told.id),
        "kind": told.kind,
        "value": dict(told.value),
        "target": told.target.conditions,
        "priority": told.priority,
        "enabled": told.enabled,
        "starts_at": None if told.starts_at is None else rfc3339(told.starts_at),
        "expires_at": None if told.expires_at is None else rfc3339(told.expires_at),
        "source": rule.source,
        "reason": rule.reason,
    }
