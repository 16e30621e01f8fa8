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
from guardhouse.agents.rules.check_rule import (
    NOTHING_GUARDED,
    RELEASE,
    Faults,
    Guarded,
    check_guarded,
    checked,
)
from guardhouse.agents.rules.documents import make_document
from guardhouse.agents.rules.store import Place, Revision, StoredRule
from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.analysis.abuse.due import next_due
from guardhouse.analysis.abuse.target import EVERYONE, Target
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.notices.app_rule_kinds import RulesPublished, RulesRolledBack
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.publish import Origin, publish, take_turn

MAX_RULES: Final = 5000
CHANNEL: Final = "app_rules"  # NOTIFY with the project's id: agents that wait for its next revision
_OF_RULE: Final = frozenset({"value", "target", "priority", "enabled", "starts_at", "expires_at"})


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule to be made; see :class:`AppRule` for its members. ``source``: manual, auto or import."""

    kind: str
    value: Mapping[str, Any]
    target: Target = EVERYONE
    priority: int = 500
    enabled: bool = True
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    source: str = "manual"


@dataclass(frozen=True, slots=True)
class Add:
    """Make a rule. ``where`` is the JSON pointer of it in the body that asked, for refusals."""

    rule: NewRule
    where: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Change members of a rule, by the names of :class:`NewRule`."""

    rule_id: UUID
    members: Mapping[str, Any]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a rule out."""

    rule_id: UUID


Operation = Add | Change | Remove


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who changes rules, when and why. ``force`` lets a ban hit guarded addresses; it needs a reason.

    ``operator``: the address that the person calls from; ``proxies``: what the server itself trusts.
    """

    actor: Actor
    now: datetime
    cause: str = "change"
    reason: str | None = None
    force: bool = False
    guarded: Guarded = NOTHING_GUARDED


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


def guarded_of(project: Project, operator: str | None = None, proxies: Sequence[Any] = ()) -> Guarded:
    """Return the addresses that bans of a project must not hit."""
    return Guarded(operator, project.settings.never_ban, tuple(proxies))


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


def apply_to(
    before: Iterable[StoredRule], operations: Sequence[Operation], by: Authorship
) -> list[StoredRule]:
    """Return the rule set after some operations.

    Raises:
        AppRuleInvalid, NotFound, Conflict: as :func:`apply_operations`.
    """
    rules = {rule.id: rule for rule in before}
    faults = Faults()
    for operation in operations:
        if isinstance(operation, Remove):
            if rules.pop(operation.rule_id, None) is None:
                raise NotFound("There is no such rule.")
            continue
        if isinstance(operation, Add):
            made = _made(operation.rule, by)
        else:
            known = rules.get(operation.rule_id)
            if known is None:
                raise NotFound("There is no such rule.")
            made = _changed(known, operation.members)
            if made == known:
                continue
        made = replace(made, rule=checked(made.rule, by.now, faults, operation.where))
        _check_forced(made.rule, by, faults, operation.where)
        rules[made.id] = made
    faults.raise_any()
    if len(rules) > MAX_RULES:
        raise Conflict(f"A project has at most {MAX_RULES} rules.", limit=MAX_RULES)
    return list(rules.values())


def _check_forced(rule: AppRule, by: Authorship, faults: Faults, where: str) -> None:
    if not by.force:
        check_guarded(rule, by.guarded, faults, where)
    elif not by.reason:
        faults.add(
            "/reason",
            "reason_needed",
            "Force needs a reason.",
            "Say why in `reason`; it stands in the audit log.",
        )


def _made(new: NewRule, by: Authorship) -> StoredRule:
    rule = AppRule(
        new_id(), new.kind, new.value, new.target, new.priority, new.enabled, new.starts_at, new.expires_at
    )
    return StoredRule(rule, new.reason, new.source, by.now, by.actor.name)


def _changed(known: StoredRule, members: Mapping[str, Any]) -> StoredRule:
    rule = replace(known.rule, **{name: value for name, value in members.items() if name in _OF_RULE})
    rest = {name: value for name, value in members.items() if name == "reason"}
    return replace(known, rule=rule, **rest)


async def publish_rules(
    tx: Tx,
    project: Project,
    before: Sequence[StoredRule],
    after: Iterable[StoredRule],
    by: Authorship,
    restored: int | None = None,
) -> Published:
    """Make a rule set the one in force as the next revision; the turn is the caller's.

    Rules that are over are ended with it, and bans that end with it are released in the apps.
    """
    place = place_of(by.actor.tenant_id, project)
    newest = await queries.get_newest(tx, place)
    number = newest.number + 1 if newest else 1
    standing = {rule.id: rule for rule in before}
    kept = {rule.id: rule for rule in after if not _is_over(rule, by.now)}
    kept |= {rule.id: rule for rule in released(before, kept.values(), by)}
    added = [replace(rule, since=number) for rule in kept.values() if standing.get(rule.id) != rule]
    ended = [rule for rule in before if kept.get(rule.id) != rule]
    if newest is not None and not added and not ended and by.cause != "renewal":
        return Published(newest, (), ())
    rules = [rule.rule for rule in kept.values()]
    targets = {rule.target for rule in rules} - {EVERYONE}
    revision = Revision(
        number=number,
        published_at=by.now,
        author=by.actor.name,
        cause=by.cause,
        reason=by.reason,
        restored=restored,
        baseline=baseline_of(project),
        targets=tuple(sorted(targets, key=repr)),
        due_at=next_due(rules, by.now),
    )
    await store.add_revision(tx, place, revision)
    await store.end_rules(tx, place, [rule.id for rule in ended], number)
    await store.add_rules(tx, place, added)
    await store.keep_document(tx, place, number, make_document(project.slug, revision, rules, ()))
    await tx.run("SELECT pg_notify($1, $2)", CHANNEL, str(project.id))
    published = Published(revision, tuple(added), tuple(ended))
    if by.cause != "renewal":  # it changes nothing for anyone
        await _tell(tx, project, published, by, len(rules))
    return published


def baseline_of(project: Project) -> Mapping[str, Any]:
    """Return what a project's app sets in its own code, in the words of the document."""
    known: dict[str, Any] = msgspec.to_builtins(project.settings.baseline) or {}
    return known


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
            found[key] = _made(new, by)
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
