"""Write a rule of the tenant's own: compiled, tried on its own tests, then in force from the next event scored.

Invariant: what is refused changes nothing; what is taken is a new version beside the ones before.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.rule import Rule
from guardhouse.analysis.risk.rule_tests import failures
from guardhouse.analysis.risk.rules import MAX_RULES, RuleSet
from guardhouse.analysis.risk.tailor import SHADOW, OwnRule, own_rule
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, Problem
from guardhouse.identity.caller import Caller
from guardhouse.scores.rules import store
from guardhouse.scores.rules.store import Content, OwnEntry, Shadow, StoredSet

MAX_BYTES: Final = 64 << 10
SHADOW_DAYS: Final = 7


class RuleInvalid(Problem):
    """The rule, or what would be changed of one, cannot be taken; the version before stays in force."""

    status, code, title = 422, "rule_invalid", "Rule invalid"
    remediation = "Correct the rule at the places listed in `errors`; the version before stays in force."

    @classmethod
    def at(cls, pointer: str, reason: str, code: str = "rule_invalid") -> "RuleInvalid":
        """Return the refusal for one place of the body."""
        detail = f"{reason[:1].upper()}{reason[1:]}."
        return cls(detail, errors=[{"pointer": pointer, "code": code, "detail": reason}])


@dataclass(frozen=True, slots=True)
class NewRule:
    """A rule as it was sent, what its hits shall do, and for how many days a shadow lasts (None = until told)."""

    source: Mapping[str, Any]
    state: str = SHADOW
    shadow_days: int | None = SHADOW_DAYS


async def save_rule(tx: Tx, caller: Caller, rule_id: str, new: NewRule, now: datetime) -> None:
    """Put a version of a rule into the tenant's set; the very same again changes nothing.

    Raises:
        RuleInvalid: the rule is wrong, or one of its own tests does not come out as it says.
        Conflict: a rule of the product has this id.
    """
    base, tenant = RuleSet.builtin(), caller.tenant
    if rule_id in base.by_id:
        raise Conflict("A rule of the product has this id; override it with PATCH.", rule_id=rule_id)
    source = rule_source(rule_id, new.source)
    await store.hold(tx, tenant.no)
    stored = await store.get_set(tx, tenant.no)
    before = stored.content.own.get(rule_id)
    if before is not None and before.state == new.state:
        kept = await store.get_sources(tx, tenant.no, {rule_id: before.version})
        if kept[rule_id] == source:
            return
    if before is None and len(base.rules) + len(stored.content.own) >= MAX_RULES:
        raise RuleInvalid.at(
            "/rule", f"more than {MAX_RULES} rules, the product's {len(base.rules)} among them"
        )
    version = 1 + await store.newest_version(tx, tenant.no, rule_id)
    rule = await tried(source, version, new.state, base)
    await store.add_rule(tx, tenant.no, version, source, now, caller.actor.name)
    content = msgspec.structs.replace(
        stored.content, own=stored.content.own | {rule_id: OwnEntry(version, new.state)}
    )
    made = await put_in_force(tx, tenant, stored, content, now, caller.actor.name)
    ends_at = await keep_shadow(tx, tenant, rule_id, new.state, new.shadow_days, now)
    after = {
        "version": rule.version,
        "state": new.state,
        "shadow_until": None if ends_at is None else rfc3339(ends_at),
        "set": made.version,
    }
    told = None if before is None else {"version": before.version, "state": before.state}
    await record(tx, caller.actor, Entry("rule.save", f"rule:{rule_id}", before=told, after=after))


async def put_in_force(
    tx: Tx, tenant: TenantKey, before: StoredSet, content: Content, now: datetime, by: str
) -> StoredSet:
    """Write the next version of the tenant's set."""
    made = StoredSet(before.version + 1, content)
    await store.add_set(tx, tenant.no, made, now, by)
    return made


async def keep_shadow(
    tx: Tx, tenant: TenantKey, rule_id: str, state: str, days: int | None, now: datetime
) -> datetime | None:
    """Note when a rule's shadow ends, or that it has none; returns when."""
    if state != SHADOW or days is None:
        await store.drop_shadow(tx, tenant, rule_id)
        return None
    ends_at = now + timedelta(days=days)
    await store.set_shadow(tx, Shadow(tenant, rule_id, now, ends_at))
    return ends_at


def rule_source(rule_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule as it is stored: with its id, without a version, which is counted here.

    Raises:
        RuleInvalid: another id stands in it, or it is too large.
    """
    if given.get("id", rule_id) != rule_id:
        raise RuleInvalid.at("/rule/id", "the id in the rule is not the one in the path")
    source = {name: value for name, value in given.items() if name != "version"} | {"id": rule_id}
    if len(msgspec.json.encode(source)) > MAX_BYTES:
        raise RuleInvalid.at("/rule", f"a rule has at most {MAX_BYTES} bytes")
    return source


async def tried(source: Mapping[str, Any], version: int, state: str, base: RuleSet) -> Rule:
    """Compile a rule and run its own tests among the product's rules.

    Raises:
        RuleInvalid: with each place that is wrong.
    """
    try:
        rule = own_rule(OwnRule(source, version, state), base)
    except RuleInvalidError as error:
        raise RuleInvalid.at(f"/rule{error.pointer}", error.reason) from None
    loud = replace(rule, muted="", weight=max(1, rule.weight))
    wrong = await asyncio.to_thread(failures, loud, RuleSet((*base.rules, loud), base.lists, base.version))
    if wrong:
        raise RuleInvalid(
            "The rule does not do what its own tests say.",
            errors=[
                {"pointer": f"/rule/test/{number}", "code": "test_failed", "detail": said}
                for number, said in wrong
            ],
        )
    return rule
