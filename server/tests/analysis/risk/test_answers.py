"""Answers of people: they only take weight away, at once and without a baseline, and always say so."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.answers import LEAST_RUNS, Answers, Place
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.profile import Baseline, ProfileSet, habit_factor
from guardhouse.analysis.risk.rules import RuleSet

PLACE = Place("/opt/scan", "native.v1", "rule.credential_read", "")
SHADOW = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
Short = Callable[..., list[RiskEvent]]


def reads(position: int, *, exe: str | None = "/opt/scan") -> RiskEvent:
    return RiskEvent(
        position,
        position.to_bytes(16, "big"),
        1_767_225_600_000_000 + position * 1000,
        "call",
        100 + position,
        start=position,
        boot_id="b",
        exe=exe,
        call="openat",
        ret=3,
        args=SHADOW,
    )


def seen(engine: AgentEngine, event: RiskEvent) -> Process:
    engine.apply(event)
    assert event.pid is not None
    return engine.instances.boots["b"][event.pid]


def nats(process: Process) -> int:
    return sum(slot.nats for slot in process.slots or ())


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_a_false_alarm_is_one_more_hit_and_never_adds_weight(hits: int, runs: int, alarms: int) -> None:
    hits = min(hits, runs)
    usual = habit_factor(hits, runs)
    factors = [Answers(1, alarms=[PLACE] * n).weigh(PLACE, hits, runs)[0] for n in range(alarms + 1)]
    assert factors[0] == usual
    assert factors == sorted(factors, reverse=True)
    if runs >= LEAST_RUNS:
        assert factors[-1] == habit_factor(hits + alarms, runs)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3))
def test_what_is_expected_weighs_nothing_and_says_why(hits: int, runs: int, alarms: int) -> None:
    answers = Answers(1, expected=[PLACE], alarms=[PLACE] * alarms)
    assert answers.weigh(PLACE, hits, runs) == (0, "answered as expected")
    assert answers.weigh(PLACE._replace(detail="x"), 0, runs) == (1_000_000, "")


@pytest.mark.parametrize(("alarms", "wanted"), [(1, 1_100_000 * 711 // 1000), (2, 1_100_000 * 542 // 1000)])
def test_without_a_baseline_a_false_alarm_counts_among_ten_runs(
    rules: RuleSet, alarms: int, wanted: int
) -> None:
    engine = AgentEngine(rules)
    assert nats(seen(engine, reads(1))) == 1_100_000
    engine.judge.answers = Answers(1, alarms=[PLACE] * alarms)
    process = seen(engine, reads(2))
    assert abs(nats(process) - wanted) < 2_000
    assert process.suppressed is not None
    (item,) = process.suppressed
    assert item.nats + nats(process) == 1_100_000
    assert item.why.startswith("answered as a false alarm")


def test_an_answer_reaches_processes_that_run_and_programs_never_told(rules: RuleSet) -> None:
    engine = AgentEngine(rules)
    process = seen(engine, reads(1))
    before = nats(process)
    unknown = Place("", "native.v1", "rule.credential_read", "")
    engine.judge.answers = Answers(1, expected=[PLACE, unknown])
    engine.apply(reads(2)._replace(pid=101, start=1))
    assert nats(process) == before
    assert not seen(engine, reads(3, exe=None)).slots
    assert nats(seen(engine, reads(4, exe="/opt/other"))) == 1_100_000


def test_the_program_that_was_judged_is_the_one_before_an_exec(rules: RuleSet, short: Short) -> None:
    """A remote shell is evidence of the server that starts it, and the child takes that name along."""
    engine = AgentEngine(rules)
    inet = {"fd": 7, "fd_kind": "inet"}
    for event in short(
        {"call": "execve", "exe": "/usr/bin/python3"},
        *({"call": "dup2", "args": inet | {"newfd": n}, "ret": n} for n in range(3)),
        {"call": "execve", "exe": "/bin/sh", "args": {"path": "/bin/sh"}},
    ):
        engine.apply(event)
    (process,) = engine.instances.states.values()
    assert process.exe == "/bin/sh"
    judged = {slot.id: slot.exe for slot in process.slots or ()}
    assert judged["rule.shell_on_socket"] == "/usr/bin/python3"
    assert all(half.exe == slot.exe for slot in process.slots or () if (half := slot.halved(slot.at_us)))


def test_a_rare_sequence_can_be_expected_too(rules: RuleSet) -> None:
    baseline = Baseline()
    baseline.calls, baseline.runs = 100_000, 9
    baseline.histogram[0] = 1_000
    profiles = ProfileSet("web", 1)
    profiles.baselines[("/opt/scan", "native.v1")] = baseline

    def after(answers: Answers) -> Process:
        engine = AgentEngine(rules, profiles)
        engine.judge.answers = answers
        for position in range(1, 40):
            name = f"call_{position}"
            engine.apply(reads(position)._replace(pid=7, start=7, call=name, args=None))
        return engine.instances.boots["b"][7]

    loud = after(Answers())
    assert [slot.id for slot in loud.slots or ()] == ["seq.rare"]
    place = PLACE._replace(evidence_id="seq.rare")
    silent = after(Answers(1, expected=[place]))
    assert not silent.slots
    assert [(item.id, item.why) for item in silent.suppressed or ()] == [("seq.rare", "answered as expected")]
    half = after(Answers(1, alarms=[place]))
    assert 0 < nats(half) < nats(loud)
    assert [item.nats + nats(half) for item in half.suppressed or ()] == [nats(loud)]
