"""Rarity of scores: vectors, calibration on exchangeable data, and that rarer is never less surprising."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.splitmix import uniform
from guardhouse.analysis.anomaly.tail import MOST, UNIT, Reservoir, fit_tail, p_of, surprise_of

VECTORS = Path(__file__).parents[4] / "contract" / "vectors" / "anomaly" / "tail.json"


def scores_like_code_lengths(seed: int, count: int) -> NDArray[np.int64]:
    """Sums of costs have about exponential tails: 40 bits and a bit more."""
    return (40_000 - 9_000 * np.log(1 - uniform(seed, 0, count))).astype(np.int64)


def test_vectors() -> None:
    for vector in json.loads(VECTORS.read_text())["tail"]:
        tail = fit_tail(
            np.array(vector["scores"]), np.array(vector["censored"], bool), vector["floor"], vector["guard"]
        )
        assert (tail.top, tail.base) == (vector["k"], vector["u"])
        assert math.isclose(tail.beta, vector["beta"], abs_tol=0.0011)
        asked = np.array([ask["score"] for ask in vector["asked"]])
        for found, ask in zip(tail.surprise(asked).tolist(), vector["asked"], strict=True):
            assert math.isclose(p_of(found), ask["p"], rel_tol=1e-4)


@pytest.mark.parametrize(("alpha", "upper"), [(0.1, None), (0.05, None), (0.01, None), (0.001, 0.002)])
def test_calibrated_on_exchangeable_scores(alpha: float, upper: float | None) -> None:
    shares = []
    for seed in range(40):
        drawn = scores_like_code_lengths(seed, 7000)
        tail = fit_tail(drawn[:2000], np.zeros(2000, bool), 1000, 0.5)
        shares.append(float(np.mean(tail.surprise(drawn[2000:]) >= surprise_of(alpha))))
    mean, error = float(np.mean(shares)), float(np.std(shares)) / math.sqrt(len(shares))
    if upper is None:
        assert abs(mean - alpha) <= 3 * error + 1 / 2001
    else:
        assert mean <= upper


def test_surprise_never_falls_with_the_score() -> None:
    for size in (0, 1, 19, 20, 150, 2000):
        tail = fit_tail(scores_like_code_lengths(size, size), np.zeros(size, bool), 1000, 0.5)
        found = tail.surprise(np.arange(0, 600_000, 250))
        assert np.all(np.diff(found) >= 0)
        assert found.min() >= 0
        assert found.max() <= MOST


def test_no_tail_below_twenty_scores() -> None:
    tail = fit_tail(np.arange(19), np.zeros(19, bool), 1000, 0.5)
    assert tail.surprise(np.array([10**9]))[0] == round(UNIT * math.log10(20))
    assert not tail.extrapolated(10**9)


def test_a_lattice_of_scores_gives_no_absurd_surprise() -> None:
    scores = np.array([30_000] * 1900 + [90_000] * 100)
    tail = fit_tail(scores, np.zeros(2000, bool), 1000, 0.5)
    assert p_of(int(tail.surprise(np.array([90_000]))[0])) > 0.02


def test_censored_scores_stretch_the_tail() -> None:
    scores = scores_like_code_lengths(3, 2000)
    cut = scores >= np.sort(scores)[-60]
    assert fit_tail(scores, cut, 1000, 0.5).beta > fit_tail(scores, np.zeros(2000, bool), 1000, 0.5).beta


def test_a_reservoir_forgets_the_oldest_and_the_named() -> None:
    reservoir = Reservoir(1000, size=5)
    reservoir.admit_plainly(np.arange(8), np.arange(100, 108))
    assert reservoir.scores.tolist() == [3, 4, 5, 6, 7]
    reservoir.forget(np.array([104, 107]))
    assert reservoir.scores.tolist() == [3, 5, 6]
    again = Reservoir.from_state(reservoir.to_state())
    assert again.scores.tolist() == [3, 5, 6]
    assert (again.size, again.floor) == (5, 1000)


def test_surprise_and_p_are_two_words_for_one_thing() -> None:
    assert surprise_of(0.0) == surprise_of(1e-13) == MOST
    assert surprise_of(1.0) == 0
    assert p_of(surprise_of(0.001)) == pytest.approx(0.001, rel=1e-5)
