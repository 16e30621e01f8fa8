"""The rules that a tenant's processes are judged by, from where they are stored to the engine.

Invariant: what an agent was scored by is named by two versions, the product's and the tenant's, and both can be
built again later, so that a score can be recomputed to the byte after rules have changed.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tailor import Override, OwnRule, tailored
from guardhouse.foundation.database import Tx
from guardhouse.scores.rules import store
from guardhouse.scores.rules.store import Content, OverrideEntry
from guardhouse.scores.store import Cursor

MAX_HELD: Final = 256


class Taken(NamedTuple):
    """Which rules an agent is judged by: the product's version, and the version of the tenant's set, 0 for none."""

    shipped: str
    version: int


def rules_taken(cursor: Cursor | None) -> Taken | None:
    """Return which rules an agent was judged by last; None when that was never written down."""
    if cursor is None or cursor.shipped_rules is None:
        return None
    return Taken(cursor.shipped_rules, cursor.rules_version or 0)


@dataclass(slots=True)
class RuleSets:
    """Rule sets of tenants used lately, least recent first; forgetting one costs a reload, never a result."""

    shipped: RuleSet
    _held: OrderedDict[tuple[int, Taken], RuleSet] = field(default_factory=OrderedDict)

    async def get(self, tx: Tx, tenant_no: int, taken: Taken | None) -> RuleSet:
        """Return the rules of a tenant in the versions taken; the product's own of today for None."""
        if taken is None or taken == (self.shipped.version, 0):
            return self.shipped
        place = (tenant_no, taken)
        held = self._held.get(place)
        if held is None:
            held = self._held[place] = await _load(tx, tenant_no, taken, self.shipped)
        self._held.move_to_end(place)
        if len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        return held


async def newest(tx: Tx, tenant_no: int) -> RuleSet:
    """Return the rules of a tenant as they are now."""
    stored = await store.get_set(tx, tenant_no)
    return await build(tx, tenant_no, stored.content, RuleSet.builtin(), stored.version)


async def build(tx: Tx, tenant_no: int, content: Content, base: RuleSet, version: int) -> RuleSet:
    """Return the product's rules with what a set of a tenant changes."""
    versions = {name: entry.version for name, entry in content.own.items()}
    sources = await store.get_sources(tx, tenant_no, versions) if versions else {}
    return tailored(base, _own(content, sources), overrides_of(content.overrides), version)


def overrides_of(entries: Mapping[str, OverrideEntry]) -> dict[str, Override]:
    """Return stored overrides as the engine's rules take them."""
    return {
        name: Override(entry.enabled, entry.weight, tuple(entry.excepts)) for name, entry in entries.items()
    }


async def _load(tx: Tx, tenant_no: int, taken: Taken, shipped: RuleSet) -> RuleSet:
    """Build a set anew; where the product cannot read older rules any more, those of today stand in."""
    base = shipped
    if taken.shipped != shipped.version:
        packed = await store.get_shipped(tx, tenant_no, taken.shipped)
        if packed is not None:
            try:
                base = RuleSet.unpack(packed)
            except RuleInvalidError:
                base = shipped
    if not taken.version:
        return base
    stored = await store.get_set(tx, tenant_no, taken.version)
    return await build(tx, tenant_no, stored.content, base, taken.version)


def _own(content: Content, sources: Mapping[str, Mapping[str, Any]]) -> list[OwnRule]:
    return [OwnRule(sources[name], entry.version, entry.state) for name, entry in sorted(content.own.items())]
