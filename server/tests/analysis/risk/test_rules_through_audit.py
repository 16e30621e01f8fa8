"""Each rule's own tests, written as audit records and read by the agent: rules hit the same, and no more."""

from typing import Any

import pytest

from guard_agent.watch.audit_log import read_audit
from guard_agent.watch.read_report import ReadReport
from guardhouse.analysis.risk.rule_tests import hits_of
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.short_events import EPOCH_US, expand_events
from server.tests.analysis.risk.audit_told import told
from server.tests.analysis.risk.audit_writer import write_log

RULES = RuleSet.builtin()
# Tests that must hit and cannot through audit, because the record lacks what the rule asks for.
UNSAID = {
    "file_capability: setcap on an interpreter": "an attribute's name is in memory",
    "file_capability: a program does it itself": "an attribute's name is in memory",
    "download_execute: one program does all three, known by inode": "inodes are not sent, see record 63",
}


CASES = [
    (rule.evidence_id, test, f"{rule.id}: {test.get('name', number)}")
    for rule in RULES.rules
    for number, test in enumerate(rule.tests)
]


@pytest.mark.parametrize(("evidence_id", "test", "name"), CASES, ids=[name for _, _, name in CASES])
def test_a_rule_says_the_same_through_audit(evidence_id: str, test: dict[str, Any], name: str) -> None:
    events = list(expand_events(test["events"]))
    report = ReadReport()
    items = list(read_audit(write_log(events), report=report))
    assert report.unreadable == 0
    assert len(items) >= sum(len(event.names or (1,)) for event in events)
    hit = evidence_id in hits_of(RULES, (told(item, at) for at, item in enumerate(items, 1)))
    if test["hits"] and name in UNSAID:
        assert not hit, "can be said after all: take it off the list"
    else:
        assert hit is test["hits"]


def test_times_are_those_of_the_events() -> None:
    (item, *_rest) = read_audit(write_log(expand_events([{"call": "setuid", "args": {"uid": 0}, "at": 3}])))
    assert item["timestamp"] == (EPOCH_US + 3_000_000) * 1000
