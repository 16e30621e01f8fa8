"""Combination, false discoveries, severity, budget."""

import numpy as np
import pytest

from guardhouse.analysis.anomaly.decide import Budget, combine, rejected, severity
from guardhouse.analysis.anomaly.splitmix import uniform
from guardhouse.analysis.anomaly.tail import UNIT, surprise_of

DAY_US = 86_400_000_000


def surprises(p: np.ndarray) -> np.ndarray:
    return np.array([surprise_of(float(one)) for one in p])


def test_weighted_bonferroni_by_hand() -> None:
    found = combine([surprises(np.array([0.01, 0.9])), surprises(np.array([0.5, 0.9]))], [0.5, 0.5])
    assert found.tolist() == [surprise_of(0.02), 0]
    found = combine([surprises(np.array([0.01])), surprises(np.array([0.0001]))], [0.8, 0.2])
    assert found[0] == pytest.approx(surprise_of(0.0005), abs=2)


def test_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.2, 0.0001])
    assert rejected(surprises(p), 0.05).tolist() == [True, True, True, False, True]
    assert rejected(surprises(np.array([0.2, 0.9])), 0.05).tolist() == [False, False]
    assert rejected(np.zeros(3, np.int64), 1.0).tolist() == [False, False, False]
    assert rejected(np.empty(0, np.int64), 0.05).size == 0


def test_false_discoveries_stay_within_twice_the_level() -> None:
    wrong = 0.0
    for seed in range(300):
        p = uniform(seed, 0, 200)
        p[:20] *= 1e-5
        told = rejected(surprises(p), 0.1)
        wrong += told[20:].sum() / max(1, told.sum())
    assert wrong / 300 <= 0.2


@pytest.mark.parametrize(
    ("p", "name"), [(1e-9, "critical"), (1e-6, "high"), (1e-4, "medium"), (0.001, "low")]
)
def test_severity(p: float, name: str) -> None:
    assert severity(surprise_of(p)) == name
    assert severity(surprise_of(p) - 1) != name or name == "low"


def test_pins_and_many_events_raise_severity() -> None:
    assert severity(0, pinned=True) == "high"
    assert severity(5 * UNIT, events=50) == "high"
    assert severity(12 * UNIT, events=50) == "critical"


def test_the_budget_holds_a_quarter_of_a_day() -> None:
    budget = Budget(24)
    assert [budget.spend(1000) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not budget.spend(1000 + DAY_US // 24 - 1)
    assert budget.spend(1000 + DAY_US // 24)
    assert not budget.spend(0)


def test_a_day_brings_at_most_its_alerts_and_a_quarter() -> None:
    budget = Budget(24)
    told = sum(budget.spend(n * DAY_US // 10_000) for n in range(10_000))
    assert 24 <= told <= 30
    assert Budget.from_state(budget.to_state()) == budget
