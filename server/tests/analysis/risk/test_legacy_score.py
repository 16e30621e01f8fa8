import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.legacy_score import ScoreWindow, score_hundredths, weight_of
from guardhouse.analysis.risk.rules import RuleSet

RUNS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 50), st.integers(1, 10)), max_size=40)


def test_every_vector(vectors: Path, rules: RuleSet, short: Callable[..., list[RiskEvent]]) -> None:
    document = json.loads((vectors / "risk_score.json").read_text())
    for case in document["cases"]:
        window = ScoreWindow()
        events = []
        for second, call, *times in case["calls"]:
            repeat = times[0] if times else 1
            for _ in range(repeat):
                window.add(second, weight_of(call), 1)
            events.append({"at": second, "call": call, "repeat": repeat, "ret": 0})
        assert window.hundredths == case["hundredths"], case["name"]
        engine = AgentEngine(rules)
        for event in short(*events):
            engine.apply(event)
        assert engine.instances.boots["test"][100].risk_score == case["hundredths"], case["name"]


def test_the_vector_lists_the_weights(vectors: Path) -> None:
    weights = json.loads((vectors / "risk_score.json").read_text())["weights"]
    assert weight_of("whatever") == weights.pop("other")
    assert {name: weight_of(name) for name in weights} == weights


@given(RUNS)
def test_run_lengths_equal_the_plain_mean(raw: list[tuple[int, int, int]]) -> None:
    window = ScoreWindow()
    latest = 0
    plain: list[tuple[int, int]] = []
    for second, count, weight in raw:
        latest = max(latest, second)
        window.add(second, weight * count, count)
        plain += [(latest, weight)] * count  # the engine's time never goes back
    kept = [weight for second, weight in plain if second >= latest - 300]
    assert window.hundredths == score_hundredths(sum(kept), len(kept))
    assert len(window.runs) <= 301
