"""Change what a rule counts for: override one of the product's, or set the state of one's own; or take one's own out.

Invariant: a changed rule is matched like before, so that what the change takes away is told as suppressed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tailor import Override, overridden
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.identity.caller import Caller
from guardhouse.scores.rules import store
from guardhouse.scores.rules.save_rule import SHADOW_DAYS, RuleInvalid, keep_shadow, put_in_force
from guardhouse.scores.rules.store import OverrideEntry, OwnEntry, StoredSet

AS_SHIPPED: Final = OverrideEntry()
_OF_SHIPPED: Final = frozenset({"enabled", "weight", "except"})
_OF_OWN: Final = frozenset({"state", "shadow_days"})


@dataclass(frozen=True, slots=True)
class Change:
    """The members that a request names; None for a weight or exceptions means as it ships."""

    given: Mapping[str, Any]


async def change_rule(tx: Tx, caller: Caller, rule_id: str, change: Change, now: datetime) -> None:
    """Put a change of one rule into force.

    Raises:
        NotFound: there is no such rule.
        RuleInvalid: a member that this kind of rule does not have, or a value that does not fit.
    """
    await store.hold(tx, caller.tenant.no)
    stored = await store.get_set(tx, caller.tenant.no)
    if rule_id in stored.content.own:
        await _set_state(tx, caller, rule_id, stored, change, now)
    elif rule_id in RuleSet.builtin().by_id:
        await _override(tx, caller, rule_id, stored, change, now)
    else:
        raise NotFound("There is no such rule.")


async def delete_rule(tx: Tx, caller: Caller, rule_id: str, now: datetime) -> None:
    """Take a rule of the tenant out of the set; its versions stay, for what was judged by them.

    Raises:
        NotFound: there is no such rule.
        Conflict: it is one of the product's.
    """
    await store.hold(tx, caller.tenant.no)
    stored = await store.get_set(tx, caller.tenant.no)
    own = dict(stored.content.own)
    before = own.pop(rule_id, None)
    if before is None and rule_id in RuleSet.builtin().by_id:
        raise Conflict("A rule of the product can be switched off, not deleted.", rule_id=rule_id)
    if before is None:
        raise NotFound("There is no such rule.")
    content = msgspec.structs.replace(stored.content, own=own)
    await put_in_force(tx, caller.tenant, stored, content, now, caller.actor.name)
    await store.drop_shadow(tx, caller.tenant, rule_id)
    told = {"version": before.version, "state": before.state}
    await record(tx, caller.actor, Entry("rule.delete", f"rule:{rule_id}", before=told))


async def _override(
    tx: Tx, caller: Caller, rule_id: str, stored: StoredSet, change: Change, now: datetime
) -> None:
    _only(
        change, _OF_SHIPPED, "a rule of the product has no {word}; its members are enabled, weight and except"
    )
    before = stored.content.overrides.get(rule_id, AS_SHIPPED)
    after = override_after(before, change)
    if after == before:
        return
    check_override(rule_id, after)
    overrides = dict(stored.content.overrides)
    overrides.pop(rule_id, None)
    if after != AS_SHIPPED:
        overrides[rule_id] = after
    content = msgspec.structs.replace(stored.content, overrides=overrides)
    await put_in_force(tx, caller.tenant, stored, content, now, caller.actor.name)
    entry = Entry("rule.override", f"rule:{rule_id}", before=_told(before), after=_told(after))
    await record(tx, caller.actor, entry)


def override_after(before: OverrideEntry, change: Change) -> OverrideEntry:
    """Return an override with the members changed that a request names."""
    given = dict(change.given)
    if "except" in given:
        given["excepts"] = given.pop("except") or []
    if given.get("enabled", True) is None:
        given["enabled"] = True
    return msgspec.structs.replace(before, **given)


def check_override(rule_id: str, entry: OverrideEntry, where: str = "") -> None:
    """Insist that an override of one of the product's rules can be built; it stands at ``where`` in the body.

    Raises:
        RuleInvalid: with the place in the request.
    """
    base = RuleSet.builtin()
    change = Override(entry.enabled, entry.weight, tuple(entry.excepts))
    try:
        overridden(base.by_id[rule_id], change, base)
    except RuleInvalidError as error:
        raise RuleInvalid.at(f"{where}{error.pointer}", error.reason) from None


async def _set_state(
    tx: Tx, caller: Caller, rule_id: str, stored: StoredSet, change: Change, now: datetime
) -> None:
    _only(
        change,
        _OF_OWN,
        "a rule of the tenant's own has no {word} here; write it anew with PUT, or set its state",
    )
    before = stored.content.own[rule_id]
    state = change.given.get("state") or before.state
    days = change.given.get("shadow_days", SHADOW_DAYS)
    if state == before.state and "shadow_days" not in change.given:
        return
    if state != before.state:
        own = stored.content.own | {rule_id: OwnEntry(before.version, state)}
        content = msgspec.structs.replace(stored.content, own=own)
        await put_in_force(tx, caller.tenant, stored, content, now, caller.actor.name)
    await keep_shadow(tx, caller.tenant, rule_id, state, days, now)
    told = {"state": before.state}, {"state": state, "shadow_days": days}
    await record(tx, caller.actor, Entry("rule.change", f"rule:{rule_id}", before=told[0], after=told[1]))


def _only(change: Change, known: frozenset[str], refusal: str) -> None:
    for word in sorted(set(change.given) - known):
        raise RuleInvalid.at(f"/{word}", refusal.format(word=word))


def _told(entry: OverrideEntry) -> dict[str, Any]:
    return {"enabled": entry.enabled, "weight": entry.weight, "except": entry.excepts}
