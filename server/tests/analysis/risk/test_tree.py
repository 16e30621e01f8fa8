# ruff: noqa: S108 - paths are data here, nothing is written

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.evidence import Finding, Slot
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tree import MAX_TREE_SLOTS, Tree, band_after

T0 = 1_767_225_600_000_000


@pytest.mark.parametrize(
    ("band", "risk", "wanted"),
    [
        (0, 3_999, 0),
        (0, 4_000, 1),
        (0, 7_000, 2),
        (1, 3_000, 1),
        (1, 2_999, 0),
        (2, 6_000, 2),
        (2, 5_999, 1),
        (2, 100, 0),
    ],
)
def test_bands_rise_at_40_and_70_and_fall_under_30_and_60(band: int, risk: int, wanted: int) -> None:
    assert band_after(band, risk) == wanted


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 2_000_000), st.integers(0, 10**9)), max_size=120)
)
def test_a_tree_is_bounded_and_packs_to_itself(acts: list[tuple[int, int, int]]) -> None:
    tree = Tree()
    now_us = T0
    for number, nats, after_us in acts:
        now_us += after_us
        exe = f"/bin/{number}"
        finding = Finding(f"rule.r{number % 20}", "", nats, 1800, "why", (bytes(16),), exe=exe)
        tree.add(Slot(finding, now_us), finding, now_us)
        tree.band = band_after(tree.band, tree.risk_at(now_us))
        tree.settle()
    assert len(tree.slots) <= MAX_TREE_SLOTS
    assert Tree.unpack(tree.pack()).pack() == tree.pack()


@pytest.mark.parametrize(
    ("pid", "exe", "wanted"),
    [
        (1, "/bin/anything", True),
        (300, "/usr/lib/systemd/systemd", True),
        (300, "/usr/bin/containerd-shim-runc-v2", True),
        (300, "/usr/sbin/sshd", True),
        (300, "/usr/sbin/nginx", False),
        (300, None, False),
    ],
)
def test_boundaries(rules: RuleSet, pid: int, exe: str | None, wanted: bool) -> None:  # noqa: FBT001 - a table
    assert rules.boundary.is_boundary(pid, exe) is wanted


def test_each_session_of_sshd_is_a_tree_of_its_own(
    rules: RuleSet, short: Callable[..., list[RiskEvent]]
) -> None:
    engine = AgentEngine(rules)
    for event in short(
        {"pid": 90, "ppid": 1, "exe": "/usr/sbin/sshd", "kind": "fork", "child_pid": 100},
        {"pid": 90, "kind": "fork", "child_pid": 200},
        {"pid": 100, "kind": "exec", "exe": "/bin/bash"},
        {"pid": 100, "kind": "fork", "child_pid": 101},
    ):
        engine.apply(event)
    pids = engine.instances.boots["test"]
    assert pids[100].root == pids[100].key
    assert pids[101].root == pids[100].key
    assert pids[200].root == pids[200].key
    assert pids[101].parent == pids[100].key


def test_small_acts_of_short_lived_children_add_up_in_the_tree_alone(
    rules: RuleSet, short: Callable[..., list[RiskEvent]]
) -> None:
    engine = AgentEngine(rules)
    acts = []
    for number in range(4):
        pid = 101 + number
        acts += [
            {"pid": 100, "exe": "/bin/sh", "kind": "fork", "child_pid": pid},
            {"pid": pid, "kind": "exec", "exe": f"/opt/tool{number}", "args": {"path": f"/tmp/tool{number}"}},
            {"pid": pid, "kind": "exit", "code": 0},
        ]
    ups = []
    for event in short(*acts):
        effects = engine.apply(event)
        ups += [] if effects is None else effects.crossings
    root = engine.instances.boots["test"][100]
    assert root.tree is not None
    assert root.slots is None
    highest = max(state.row_risk for state in engine.instances.states.values())
    # four children, one program before the exec: one entry per program, so the same shell counts once
    assert root.tree.risk_at(engine.clock_us) == highest == 2953
    assert ups == []


def test_an_up_crossing_names_its_evidence_once_and_new_evidence_is_news(
    rules: RuleSet, short: Callable[..., list[RiskEvent]]
) -> None:
    engine = AgentEngine(rules)
    crossings = []
    shadow = {"pid": 100, "exe": "/usr/bin/cat", "call": "openat", "args": {"path": "/etc/shadow"}, "ret": 3}
    cron = {"path": "/etc/cron.d/x", "flags": ["O_WRONLY"]}
    for event in short(shadow, shadow, {"pid": 100, "call": "openat", "args": cron, "ret": 3}, shadow):
        effects = engine.apply(event)
        crossings += [] if effects is None else effects.crossings
    assert [(news.direction, news.band, news.evidence_id) for news in crossings] == [
        ("up", "medium", "rule.credential_read"),
        ("up", "high", "rule.credential_read"),
        ("evidence", "high", "rule.persistence_cron"),
    ]
