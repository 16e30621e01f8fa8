"""A tenant's rule set: what is changed counts otherwise and is still matched; what does not fit is left out."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.rule_tests import expand_events, hits_of
from guardhouse.analysis.risk.rules import MAX_RULES, RuleSet
from guardhouse.analysis.risk.tailor import DISABLED, SHADOW, STATES, Override, OwnRule, own_rule, tailored

SECRET: dict[str, Any] = {"call": "openat", "args": {"path": "/etc/shadow", "flags": ["O_RDONLY"]}, "ret": 3}


def own_source(rules: RuleSet, name: str = "my_own") -> dict[str, Any]:
    source: dict[str, Any] = copy.deepcopy(dict(rules.by_id["credential_read"].source))
    return source | {"id": name}


def test_nothing_changed_is_what_ships(rules: RuleSet) -> None:
    same = tailored(rules, [], {}, 0)
    assert (same.version, [rule.id for rule in same.rules]) == (
        rules.version,
        [rule.id for rule in rules.rules],
    )
    assert tailored(rules, [], {}, 3).version == f"{rules.version}.3"


@pytest.mark.parametrize("change", [Override(enabled=False), Override(weight=0)])
def test_an_override_mutes_and_keeps_matching(rules: RuleSet, change: Override) -> None:
    changed = tailored(rules, [], {"credential_read": change}, 1)
    rule = changed.by_id["credential_read"]
    assert rule.muted
    assert rule.weight == rules.by_id["credential_read"].weight
    assert {call for call, steps in changed.by_call.items() if any(r.id == rule.id for r, _, _ in steps)} == {
        "open", "openat", "openat2", "creat",
    }  # fmt: skip
    assert hits_of(changed, expand_events([SECRET])) == {}


@pytest.mark.parametrize("state", STATES)
def test_every_hit_of_every_state_is_counted(
    rules: RuleSet, short: Callable[..., list[RiskEvent]], state: str
) -> None:
    engine = AgentEngine(tailored(rules, [OwnRule(own_source(rules), 1, state)], {}, 1))
    for event in short({"exe": "/bin/cat"} | SECRET, SECRET, {"at": 86_400.0} | SECRET):
        engine.apply(event)
    process = engine.instances.boots["test"][100]
    hits = engine.judge.take_hits()
    day = 1_767_225_600 // 86_400
    added = 0 if state in (SHADOW, DISABLED) else 2
    assert (hits["my_own", day], hits["my_own", day + 1]) == ((2, added), (1, added // 2))
    assert hits["credential_read", day] == (2, 2)
    assert engine.judge.take_hits() == {}
    told = [item.id for item in process.suppressed or ()]
    assert ("rule.my_own" in told) is (added == 0)


def test_no_rule_of_a_tenant_changes_what_the_products_find(rules: RuleSet) -> None:
    """Rules that watch everything, in every state, beside each rule's own tests."""
    watching = own_source(rules) | {
        "step": [{"calls": ["@open", "@exec", "connect", "dup2", "rename"]}],
        "except": [],
    }
    crowd = [OwnRule(watching | {"id": f"own_{state}"}, 1, state) for state in STATES]
    beside = tailored(rules, crowd, {}, 1)
    assert len(beside.rules) == len(rules.rules) + 3
    for rule in rules.rules:
        for test in rule.tests:
            among = hits_of(beside, expand_events(test["events"]))
            assert among.get(rule.evidence_id) == hits_of(rules, expand_events(test["events"])).get(
                rule.evidence_id
            )


def test_scoring_goes_on_with_what_fits(rules: RuleSet) -> None:
    broken = own_source(rules, "broken") | {"family": "gone"}
    taken = own_source(rules, "setuid_bit")
    good = own_source(rules, "good")
    found = tailored(
        rules, [OwnRule(s, 1) for s in (broken, taken, good)], {"gone": Override(enabled=False)}, 1
    )
    assert {rule.id for rule in found.rules} - {rule.id for rule in rules.rules} == {"good"}
    assert found.by_id["setuid_bit"].origin == "builtin"
    many = [OwnRule(own_source(rules, f"own_{n}"), 1) for n in range(MAX_RULES)]
    assert len(tailored(rules, many, {}, 1).rules) == MAX_RULES
    wrong = {"setuid_bit": Override(weight=9), "recon": Override(excepts=({"mood": {"eq": 1}},))}
    kept = tailored(rules, [], wrong, 1)
    assert all(kept.by_id[name].weight == rules.by_id[name].weight for name in wrong)


def test_a_version_of_ones_own_keeps_progress_of_its_own(rules: RuleSet) -> None:
    source = own_source(rules)
    assert [own_rule(OwnRule(source, version), rules).tally for version in (1, 2)] == ["my_own", "my_own:2"]


def test_a_set_is_read_again_as_it_was_packed(rules: RuleSet) -> None:
    again = RuleSet.unpack(rules.pack())
    assert (again.version, again.lists, again.rules) == (rules.version, rules.lists, again.rules)
    assert [rule.source for rule in again.rules] == [rule.source for rule in rules.rules]
    assert again.pack() == rules.pack()


def test_progress_of_rules_that_are_gone_is_bounded(
    rules: RuleSet, short: Callable[..., list[RiskEvent]]
) -> None:
    """A process that outlives many versions of a rule with counts keeps a bounded number of tallies."""
    counting = own_source(rules) | {"count": {"at_least": 5}}
    engine = AgentEngine(rules)
    for version in range(1, MAX_RULES + 20):
        engine.use_rules(tailored(rules, [OwnRule(counting, version, "active")], {}, version))
        (event,) = short({"exe": "/bin/cat", "at": float(version)} | SECRET)
        engine.apply(event._replace(position=version, event_id=version.to_bytes(16, "big")))
    assert len(engine.instances.boots["test"][100].tallies or {}) <= MAX_RULES


def test_a_tenant_sets_no_shared_flags_or_facts(rules: RuleSet) -> None:
    source = own_source(rules)
    for word, value in (("set_flag", "attached"), ("set_fact", "written_by_net")):
        source["step"] = [{"calls": ["@open"], word: value}]
        with pytest.raises(RuleInvalidError, match="only the product"):
            own_rule(OwnRule(source, 1), rules)
