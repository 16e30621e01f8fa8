"""What may be asked of the rules of an app, and the rule set that it makes of another; nothing is stored here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.projects.store import Project
from guardhouse.agents.rules.check_rule import NOTHING_GUARDED, Faults, Guarded, check_guarded, checked
from guardhouse.agents.rules.store import StoredRule
from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.analysis.abuse.networks import Network
from guardhouse.analysis.abuse.target import EVERYONE, Target
from guardhouse.audit.record import Actor
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id

MAX_RULES: Final = 5000
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
    """Who changes rules, when and why. ``force`` lets a ban hit the guarded addresses; it needs a reason.

    ``restored``: the revision that is gone back to.
    """

    actor: Actor
    now: datetime
    cause: str = "change"
    reason: str | None = None
    force: bool = False
    guarded: Guarded = NOTHING_GUARDED
    restored: int | None = None


def apply_to(
    before: Iterable[StoredRule], operations: Sequence[Operation], by: Authorship
) -> list[StoredRule]:
    """Return the rule set after some operations.

    Raises:
        AppRuleInvalid: a value that cannot be taken, or a ban of guarded addresses without force.
        NotFound: no such rule.
        Conflict: more rules than a project may have.
    """
    rules = {rule.id: rule for rule in before}
    faults = Faults()
    for operation in operations:
        if isinstance(operation, Remove):
            if rules.pop(operation.rule_id, None) is None:
                raise NotFound("There is no such rule.")
            continue
        if isinstance(operation, Add):
            found = made(operation.rule, by)
        else:
            known = rules.get(operation.rule_id)
            if known is None:
                raise NotFound("There is no such rule.")
            found = _changed(known, operation.members)
            if found == known:
                continue
        found = replace(found, rule=checked(found.rule, by.now, faults, operation.where))
        check_forced(found.rule, by, faults, operation.where)
        rules[found.id] = found
    faults.raise_any()
    if len(rules) > MAX_RULES:
        raise Conflict(f"A project has at most {MAX_RULES} rules.", limit=MAX_RULES)
    return list(rules.values())


def check_forced(rule: AppRule, by: Authorship, faults: Faults, where: str) -> None:
    """Note that a ban hits guarded addresses, or that it is forced without a reason."""
    if not by.force:
        check_guarded(rule, by.guarded, faults, where)
    elif not by.reason:
        faults.add(
            "/reason",
            "reason_needed",
            "Force needs a reason.",
            "Say why in `reason`; it stands in the audit log.",
        )


def made(new: NewRule, by: Authorship) -> StoredRule:
    """Return a new rule with an id of its own."""
    rule = AppRule(
        new_id(), new.kind, new.value, new.target, new.priority, new.enabled, new.starts_at, new.expires_at
    )
    return StoredRule(rule, new.reason, new.source, by.now, by.actor.name)


def _changed(known: StoredRule, members: Mapping[str, Any]) -> StoredRule:
    rule = replace(known.rule, **{name: value for name, value in members.items() if name in _OF_RULE})
    rest = {name: value for name, value in members.items() if name == "reason"}
    return replace(known, rule=rule, **rest)


def guarded_of(project: Project, operator: str | None = None, proxies: Sequence[Network] = ()) -> Guarded:
    """Return the addresses that bans of a project must not hit."""
    return Guarded(operator, project.settings.never_ban, tuple(proxies))
