"""Runs: where they begin and end, what is said of them, and that every call belongs to one of them at most."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.risk.answers import Answers, Place
from guardhouse.analysis.risk.effects import RunEnd
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.learn import RunCollector
from guardhouse.analysis.risk.process import MAX_SUPPRESSED
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.run import MAX_HITS, OpenRun
from guardhouse.analysis.risk.scoring import run_so_far
from server.tests.analysis.risk.test_engine import wild

Short = Callable[..., list[RiskEvent]]
HOUR_S = 3600


def ended(engine: AgentEngine, events: list[RiskEvent]) -> list[RunEnd]:
    return [end for event in events if (effects := engine.apply(event)) for end in effects.runs]


def going_on(engine: AgentEngine) -> list[RunEnd]:
    states = engine.instances.states.values()
    return [end for p in states if (end := run_so_far(p, engine.position, engine.heard()))]


def test_a_run_goes_from_exec_to_exec_and_to_exit(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    events = short(
        {"call": "execve", "exe": "/bin/sh"},
        {"call": "read"},
        {"call": "execve", "exe": "/bin/cat"},
        {"call": "read"},
        {"kind": "exit"},
        {"kind": "exit"},
    )
    one, two = ended(engine, events)
    assert (one.exe, one.edge, one.after, one.last) == ("/bin/sh", "/bin/cat", 1, 3)
    assert (two.exe, two.edge, two.after, two.last) == ("/bin/cat", None, 3, 5)
    assert one.received == 2
    assert going_on(engine) == []


def test_a_fork_begins_a_run_of_the_parents_program_and_one_without_a_call_is_none(
    rules: RuleSet, short: Short
) -> None:
    engine = AgentEngine(rules)
    events = short(
        {"pid": 1000, "call": "execve", "exe": "/bin/sh"},
        {"pid": 1000, "kind": "fork", "child_pid": 1001},
        {"pid": 1000, "kind": "fork", "child_pid": 1002},
        {"pid": 1001, "call": "read"},
        {"pid": 1001, "kind": "exit"},
        {"pid": 1002, "kind": "exit"},
    )
    (child,) = ended(engine, events)
    assert (child.key.pid, child.exe, child.after, child.last) == (1001, "/bin/sh", 2, 5)
    (parent,) = going_on(engine)
    assert (parent.key.pid, parent.after) == (1000, 1)


def test_a_long_run_is_cut_each_day(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    events = short(
        {"call": "execve", "exe": "/srv/app", "start": 5},
        *({"call": "read", "start": 5, "at": n * 10 * HOUR_S} for n in range(8)),
    )
    ends = ended(engine, events)
    assert [(end.after, end.last) for end in ends] == [(1, 4), (4, 7)]
    assert [end.after for end in going_on(engine)] == [7]


def test_a_run_says_what_it_hit_and_whether_its_tree_was_calm(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    secret = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    events = short(
        {"call": "execve", "exe": "/srv/app"},
        {"call": "read"},
        {"call": "execve", "exe": "/srv/app"},
        {"call": "openat", "args": secret, "ret": 3},
        {"call": "openat", "args": secret, "ret": 3},
        {"kind": "exit"},
    )
    calm, risky = ended(engine, events)
    assert (calm.hits, calm.calm) == ([], True)
    assert (risky.hits, risky.calm) == ([("rule.credential_read", 4)], False)


def test_an_imported_alert_counts_as_a_hit(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    extra = {"source": "falco", "rule": "r", "priority": "notice"}
    events = short(
        {"call": "execve", "exe": "/srv/app"}, {"call": "read"}, {"kind": "finding"}, {"kind": "exit"}
    )
    events = [event._replace(extra=extra) if event.kind == "finding" else event for event in events]
    (end,) = ended(engine, events)
    assert end.hits == [("ext.falco.r", 3)]


def test_hits_are_bounded_and_packed() -> None:
    run = OpenRun(7, 1, 2, (3, 4))
    for number in range(3 * MAX_HITS):
        run.hit(f"rule.r{number}", number)
    run.hit("rule.r1", 99)
    assert len(run.list_hits()) == MAX_HITS
    assert dict(run.list_hits())["rule.r1"] == 1
    assert OpenRun.unpack(run.pack()).pack() == run.pack()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_runs_of_a_process_never_overlap_and_a_replay_has_the_same(rules: RuleSet, seed: int) -> None:
    events = wild(random.Random(seed))
    engine = AgentEngine(rules)
    ends = ended(engine, events) + going_on(engine)
    places: dict[ProcessKey, list[tuple[int, int]]] = {}
    for end in ends:
        assert end.after < end.last
        assert end.started_us <= end.ended_us
        assert all(end.after < position <= end.last for _, position in end.hits)
        places.setdefault(end.key, []).append((end.after, end.last))
    for held in places.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(held)))
    collector = RunCollector(AgentEngine(rules), "t")
    for event in events:
        collector.observe(event)
    runs = collector.finish()
    assert len({run.name for run in runs}) == len(runs) == len(ends)
    assert sum(len(run.hits) for run in runs) == sum(len(end.hits) for end in ends)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_taken_away_is_always_told(rules: RuleSet, seed: int) -> None:
    """With all evidence of all programs expected nothing is left, and each piece stands among the suppressed."""
    events = wild(random.Random(seed))
    loud = AgentEngine(rules)
    for event in events:
        loud.apply(event)
    trees = [p.tree for p in loud.instances.states.values() if p.tree is not None]
    exes = {slot.exe for tree in trees for slot in tree.slots.values()}
    held = {
        (key, slot.id, slot.detail)
        for key, p in loud.instances.states.items()
        for slot in p.slots or ()
        if slot.hits
    }
    names = {(name, detail) for _, name, detail in held}
    silent = AgentEngine(rules)
    silent.judge.answers = Answers(
        1, expected=[Place(exe, "strace.full.v1", *name) for exe in exes for name in names]
    )
    for event in events:
        silent.apply(event)
    for key, name, detail in held:
        process = silent.instances.states[key]
        told = process.suppressed or []
        assert len(told) == MAX_SUPPRESSED or (name, detail) in {(item.id, item.detail) for item in told}


@pytest.mark.parametrize("events", [4_000])
def test_what_an_agent_remembers_of_processes_that_ended_does_not_grow(rules: RuleSet, events: int) -> None:
    """Many short processes: what was asked for in earlier steps is forgotten with them."""
    engine = AgentEngine(rules)
    engine.instances.partial = True
    us = 1_767_225_600_000_000
    for number in range(events):
        us += 1_000_000
        event = RiskEvent(
            number + 1,
            number.to_bytes(16, "big"),
            us,
            "call",
            number % 3,
            start=number,
            boot_id="b",
            call="read",
        )
        out = event._replace(position=number + 2, kind="exit", call=None)
        engine.needed_keys([event, out])
        engine.apply(event)
        engine.apply(out._replace(position=number + 1))
        engine.take_dirty()
        engine.evict(engine.clock_us, 100)
    assert len(engine.instances.states) <= 700
    assert len(engine.instances.asked) == 0
    assert len(engine.instances.stubs) == 0
