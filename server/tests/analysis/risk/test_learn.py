import random
from types import ModuleType

import pytest

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.learn import Run, RunCollector, halve, learn
from guardhouse.analysis.risk.profile import MIN_VALUES, ProfileSet
from guardhouse.analysis.risk.rules import RuleSet

SERVER = ("/srv/app/server", "strace.full.v1")


@pytest.fixture(scope="module")
def calm(golden_tool: ModuleType) -> list[RiskEvent]:
    return list(golden_tool.synthetic(3_000, 5, calm=True))


def runs_of(rules: RuleSet, events: list[RiskEvent]) -> list[Run]:
    collector = RunCollector(AgentEngine(rules), "t")
    for event in events:
        collector.observe(event)
    return collector.finish()


def test_learning_in_any_order_gives_the_same_bytes(rules: RuleSet, calm: list[RiskEvent]) -> None:
    runs = runs_of(rules, calm)
    wanted = learn(None, runs, "web").pack()
    for seed in range(3):
        mixed = list(runs)
        random.Random(seed).shuffle(mixed)
        assert learn(None, mixed, "web").pack() == wanted
    assert ProfileSet.unpack(wanted).pack() == wanted


def test_runs_hold_what_happened(rules: RuleSet, calm: list[RiskEvent]) -> None:
    runs = runs_of(rules, calm)
    assert {run.exe for run in runs} == {"/srv/app/server", "/bin/sh"}
    servers = [run for run in runs if run.exe == "/srv/app/server"]
    assert any("/bin/sh" in run.edges for run in servers)
    assert sum(len(run.grams) for run in runs) > 2_000
    assert len({run.fold for run in runs}) == 5


def test_the_next_version_adds_to_the_one_before(rules: RuleSet, calm: list[RiskEvent]) -> None:
    first = learn(None, runs_of(rules, calm[:1_500]), "web")
    second = learn(first, runs_of(rules, calm[1_500:]), "web")
    assert (first.version, second.version) == (1, 2)
    assert second.baselines[SERVER].calls > first.baselines[SERVER].calls
    assert first.pack() == learn(None, runs_of(rules, calm[:1_500]), "web").pack()
    assert sum(second.baselines[SERVER].histogram) >= MIN_VALUES


def test_what_was_learned_is_not_surprising_and_what_was_not_is(
    rules: RuleSet, calm: list[RiskEvent]
) -> None:
    profiles = learn(None, runs_of(rules, calm), "web")
    engine = AgentEngine(rules, profiles)
    for event in calm:
        engine.apply(event)
    found = {slot.id for state in engine.instances.states.values() for slot in state.slots or ()}
    assert "edge.new" not in found
    assert "path.new" not in found
    strange = calm[-1]._replace(
        position=9_000,
        kind="exec",
        pid=500,
        start=5000,
        exe="/bin/nc",
        late=False,
        args={"path": "/bin/nc"},
        call=None,
        names=None,
        boot_id="b2",
    )
    engine.apply(strange)
    slots = engine.instances.boots["b2"][500].slots or []
    edges = [slot for slot in slots if slot.id == "edge.new"]
    assert [slot.detail for slot in edges] == ["/bin/nc"]
    assert 0 < edges[0].nats < 700_000


def test_a_rule_that_always_hits_becomes_worthless_and_is_still_told(rules: RuleSet) -> None:
    shadow = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    events = [
        RiskEvent(
            number,
            number.to_bytes(16, "big"),
            1_767_225_600_000_000 + number * 1000,
            "call",
            100 + number,
            start=number,
            boot_id="b",
            exe="/opt/scan",
            call="openat",
            ret=3,
            args=shadow,
        )
        for number in range(1, 11)
    ]
    profiles = learn(None, runs_of(rules, events), "web")
    engine = AgentEngine(rules, profiles)
    engine.apply(events[0]._replace(position=99, start=77))
    process = next(iter(engine.instances.states.values()))
    assert not process.slots
    assert process.suppressed is not None
    assert [(item.id, item.nats, item.why) for item in process.suppressed] == [
        ("rule.credential_read", 1_100_000, "usual here: 10 of 10 runs")
    ]


def test_forgetting_halves_everything(rules: RuleSet, calm: list[RiskEvent]) -> None:
    profiles = learn(None, runs_of(rules, calm), "web")
    half = halve(profiles)
    assert half.version == 2
    assert half.baselines[SERVER].calls == profiles.baselines[SERVER].calls >> 1
    assert half.baselines[SERVER].edges == profiles.baselines[SERVER].edges
