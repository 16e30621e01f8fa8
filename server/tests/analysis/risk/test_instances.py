from collections.abc import Callable

import pytest

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent, base36, process_id
from guardhouse.analysis.risk.instances import ProcessNotLoadedError
from guardhouse.analysis.risk.rules import RuleSet

Short = Callable[..., list[RiskEvent]]
CALL = {"call": "read", "ret": 0}


def keys_after(rules: RuleSet, events: list[RiskEvent]) -> list[ProcessKey]:
    engine = AgentEngine(rules)
    for event in events:
        engine.apply(event)
    return list(engine.instances.states)


def test_one_pid_without_start_is_one_process(rules: RuleSet, short: Short) -> None:
    assert len(keys_after(rules, short(CALL, CALL, CALL))) == 1


def test_a_new_instance_after_an_exit(rules: RuleSet, short: Short) -> None:
    keys = keys_after(rules, short(CALL, {"kind": "exit", "code": 0}, CALL))
    assert [key.generation for key in keys] == [1, 2]


def test_a_late_event_after_an_exit_belongs_to_the_ended_one(rules: RuleSet, short: Short) -> None:
    events = short(CALL, {"kind": "exit", "code": 0}, CALL)
    events[2] = events[2]._replace(late=True)
    assert len(keys_after(rules, events)) == 1
    ten_minutes_on = events[2].occurred_us + 601_000_000
    stranger = events[2]._replace(pid=7, occurred_us=ten_minutes_on, late=False)
    late = events[2]._replace(position=4)
    assert len(keys_after(rules, [*events[:2], stranger, late])) == 3


def test_a_new_instance_after_a_fork_that_returned_the_pid(rules: RuleSet, short: Short) -> None:
    keys = keys_after(
        rules, short({"pid": 101, **CALL}, {"kind": "fork", "child_pid": 101}, {"pid": 101, **CALL})
    )
    assert [key.pid for key in keys] == [101, 100, 101]


def test_a_new_instance_at_a_new_boot(rules: RuleSet, short: Short) -> None:
    first, second = short(CALL, CALL)
    assert len(keys_after(rules, [first, second._replace(boot_id="other")])) == 2


def test_a_new_instance_after_six_hours_of_silence(rules: RuleSet, short: Short) -> None:
    assert len(keys_after(rules, short({"at": 0, **CALL}, {"at": 6 * 3600, **CALL}))) == 1
    assert len(keys_after(rules, short({"at": 0, **CALL}, {"at": 6 * 3600 + 1, **CALL}))) == 2


def test_a_start_makes_the_instance(rules: RuleSet, short: Short) -> None:
    keys = keys_after(
        rules,
        short({"start": 5, **CALL}, {"start": 5, "at": 90_000, **CALL}, {"start": 9, "at": 90_001, **CALL}),
    )
    assert keys == [ProcessKey("test", 100, 5, 0), ProcessKey("test", 100, 9, 0)]


def test_an_event_without_start_goes_to_the_newest(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    for event in short({"start": 5, **CALL}, {"start": 9, **CALL}, CALL):
        engine.apply(event)
    assert engine.instances.states[ProcessKey("test", 100, 9, 0)].calls == 2


def test_a_fork_that_did_not_know_the_start_gives_its_place_to_the_child(
    rules: RuleSet, short: Short
) -> None:
    engine = AgentEngine(rules)
    for event in short(
        {"exe": "/bin/sh", "kind": "fork", "child_pid": 101}, {"pid": 101, "start": 77, **CALL}
    ):
        engine.apply(event)
    child = engine.instances.boots["test"][101]
    assert child.key.start == 77
    assert child.parent == engine.instances.boots["test"][100].key
    assert child.exe == "/bin/sh"


def test_a_fork_of_oneself_and_an_exit_of_nobody_do_no_harm(rules: RuleSet, short: Short) -> None:
    assert len(keys_after(rules, short({"kind": "fork", "child_pid": 100}))) == 1
    assert len(keys_after(rules, short({"kind": "exit", "code": 1}))) == 1


def test_the_parent_named_by_an_event_is_linked(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    for event in short({"exe": "/bin/sh", **CALL}, {"pid": 101, "ppid": 100, **CALL}):
        engine.apply(event)
    pids = engine.instances.boots["test"]
    assert pids[101].parent == pids[100].key
    assert pids[101].root == pids[100].key


def test_a_parent_named_by_its_start_is_that_one_and_no_other(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    child = {"pid": 101, "ppid": 100, **CALL}
    for event in short(
        {"start": 5, **CALL},
        {"start": 9, **CALL},
        child | {"start": 6, "extra": {"parent_start": 5}},
        child | {"start": 7, "extra": {"parent_start": 8}},
    ):
        engine.apply(event)
    states = engine.instances.states
    assert states[ProcessKey("test", 101, 6, 0)].parent == ProcessKey("test", 100, 5, 0)
    assert states[ProcessKey("test", 101, 7, 0)].parent is None


def test_parents_that_name_each_other_make_no_circle(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    one, two = {"pid": 101, "ppid": 102, **CALL}, {"pid": 102, "ppid": 101, **CALL}
    forks = [{"pid": 102, "kind": "fork", "child_pid": 101, "child_start": 4}]
    for event in short(one, two, one, *forks, two):
        engine.apply(event)
    for process in engine.instances.states.values():
        seen = [process.key]
        while (above := engine.instances.states[seen[-1]].parent) is not None:
            assert above not in seen
            seen.append(above)


def test_an_evicted_process_must_be_loaded_before_its_events(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    first, second, third = short(CALL, {"pid": 101, **CALL}, CALL)
    engine.apply(first)
    engine.apply(second)
    stored = {dirty.key: dirty.packed for dirty in engine.take_dirty()}
    dropped = engine.evict(engine.clock_us, 1)
    assert dropped == [ProcessKey("test", 100, -1, 1)]
    with pytest.raises(ProcessNotLoadedError, match="needed_keys"):
        engine.apply(third)
    assert engine.needed_keys([third]) == dropped
    engine.load_process(stored[dropped[0]])
    assert engine.needed_keys([third]) == []
    engine.apply(third._replace(position=9))
    assert engine.instances.states[dropped[0]].calls == 2


def test_the_text_form_of_a_process() -> None:
    assert process_id("web-1", ProcessKey("b", 4711, -1, 3)) == "web-1:4711"
    assert process_id("web-1", ProcessKey("b", 4711, 77_120_034, 0)) == "web-1:4711:19wy76"
    assert base36(0) == "0"
    assert base36(35) == "z"
    with pytest.raises(ValueError, match="36"):
        base36(-1)
