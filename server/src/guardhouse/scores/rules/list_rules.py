"""Rules as people see them: what is in force for a tenant, how it differs from what ships, how often it hits."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from guardhouse.analysis.risk.rule import BUILTIN, Rule
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tailor import ACTIVE, DISABLED
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.scores.rules import store
from guardhouse.scores.rules.rule_sets import build
from guardhouse.scores.rules.store import Hits, OverrideEntry, Shadow, StoredSet

HIT_DAYS: Final = 7
NO_HITS: Final = Hits()


@dataclass(frozen=True, slots=True)
class ShownRule:
    """One rule of a tenant. ``shipped`` and ``override`` are None for a rule of the tenant's own."""

    rule: Rule
    shipped: Rule | None
    override: OverrideEntry | None
    state: str
    shadow: Shadow | None
    hits: Hits


def hits_since(clock: Clock) -> date:
    """Return the first of the seven days whose hits are shown."""
    return clock.now().date() - timedelta(days=HIT_DAYS - 1)


async def list_rules(tx: Tx, tenant: TenantKey, clock: Clock) -> list[ShownRule]:
    """Return every rule of a tenant by id."""
    base, stored = RuleSet.builtin(), await store.get_set(tx, tenant.no)
    rules = await build(tx, tenant.no, stored.content, base, stored.version)
    hits = await store.sum_hits(tx, tenant.no, hits_since(clock))
    shadows = await store.list_shadows(tx, tenant)
    return [
        ShownRule(
            rule,
            base.by_id.get(rule.id),
            stored.content.overrides.get(rule.id),
            state_of(stored, rule),
            shadows.get(rule.id),
            hits.get(rule.id, NO_HITS),
        )
        for rule in rules.rules
    ]


async def get_rule(tx: Tx, tenant: TenantKey, rule_id: str, clock: Clock) -> ShownRule:
    """Return one rule of a tenant.

    Raises:
        NotFound: there is none of this id.
    """
    for shown in await list_rules(tx, tenant, clock):
        if shown.rule.id == rule_id:
            return shown
    raise NotFound("There is no such rule.")


def state_of(stored: StoredSet, rule: Rule) -> str:
    """Return what a rule's hits do: `active`, `shadow` or `disabled`."""
    if rule.origin == BUILTIN:
        override = stored.content.overrides.get(rule.id)
        return ACTIVE if override is None or override.enabled else DISABLED
    return stored.content.own[rule.id].state
