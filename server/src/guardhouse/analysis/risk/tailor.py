"""A tenant's rule set: the product's rules with what the tenant changed, and rules of the tenant's own.

Invariants: a change never removes a rule from matching, so a hit that it takes away is told as suppressed; an
exception of a tenant is added to those that a rule has; a rule of a tenant sets no flag and no fact, for those are
shared, and nothing that one tenant writes may change what another rule finds.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from guardhouse.analysis.risk.compile_rule import compile_excepts, compile_rule
from guardhouse.analysis.risk.conditions import RuleInvalidError, below
from guardhouse.analysis.risk.rule import MAX_WEIGHT, TENANT, Rule
from guardhouse.analysis.risk.rules import MAX_RULES, RuleSet

ACTIVE: Final = "active"
SHADOW: Final = "shadow"
DISABLED: Final = "disabled"
STATES: Final = (ACTIVE, SHADOW, DISABLED)
_MUTED: Final = {
    ACTIVE: "",
    SHADOW: "shadow rule: counted, not added",
    DISABLED: "switched off here: counted, not added",
}
_NO_WEIGHT: Final = "weight 0 here: counted, not added"


@dataclass(frozen=True, slots=True)
class Override:
    """What a tenant changed of one of the product's rules; `weight` in nats, None = as it ships."""

    enabled: bool = True
    weight: float | None = None
    excepts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule of the tenant as it was written, the number of its version, and what its hits do."""

    source: Mapping[str, Any]
    version: int
    state: str = SHADOW


def own_rule(own: OwnRule, base: RuleSet) -> Rule:
    """Compile a rule of a tenant.

    Raises:
        RuleInvalidError: with the place in the rule, and what is wrong there.
    """
    source = {**own.source, "version": own.version}
    name = source.get("id")
    if isinstance(name, str) and name in base.by_id:
        raise RuleInvalidError("/id", "a rule of the product has this id")
    for number, step in enumerate(source.get("step", [])):
        for word in ("set_flag", "set_fact"):
            if isinstance(step, Mapping) and step.get(word) is not None:
                raise RuleInvalidError(
                    below("", "step", number, word), "what several rules read, only the product's rules set"
                )
    rule = compile_rule(source, base.lists, origin=TENANT)
    return replace(rule, muted=_MUTED[own.state] or rule.muted)


def overridden(rule: Rule, change: Override, base: RuleSet) -> Rule:
    """Return one of the product's rules as a tenant wants it.

    Raises:
        RuleInvalidError: weight out of range, or an exception that cannot be compiled.
    """
    if change.weight is not None and not 0 <= change.weight <= MAX_WEIGHT:
        raise RuleInvalidError("/weight", f"weight must be from 0 to {MAX_WEIGHT:g}")
    excepts = compile_excepts(list(change.excepts), "/except", base.lists)
    weight = rule.weight if not change.weight else round(change.weight * 1_000_000)
    muted = rule.muted
    if change.weight == 0:
        muted = _NO_WEIGHT  # the weight stays what it was, so that what it would have added can be told
    if not change.enabled:
        muted = _MUTED[DISABLED]
    return replace(rule, weight=weight, excepts=(*rule.excepts, *excepts), muted=muted)


def tailored(
    base: RuleSet, own: Iterable[OwnRule], overrides: Mapping[str, Override], version: int
) -> RuleSet:
    """Return the rules of a tenant.

    What does not fit this version of the product is left out, since scoring must go on: overrides of rules that are
    gone, rules that it reads no more or has taken the name of, and rules past the limit.
    """
    rules = [_fitting(rule, overrides, base) for rule in base.rules]
    for one in own:
        with suppress(RuleInvalidError):
            rules.append(own_rule(one, base))
    return RuleSet(rules[:MAX_RULES], base.lists, f"{base.version}.{version}" if version else base.version)


def _fitting(rule: Rule, overrides: Mapping[str, Override], base: RuleSet) -> Rule:
    with suppress(RuleInvalidError):
        return overridden(rule, overrides[rule.id], base) if rule.id in overrides else rule
    return rule
