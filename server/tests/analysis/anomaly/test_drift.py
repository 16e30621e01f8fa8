import math

import numpy as np
import pytest

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.drift import DAY_US, LEAST_RUN, Cusum, Martingale, nats_of, smoothed_p

START = 1_767_225_600_000_000


def uniform(seed: int, count: int) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).random(count)]


def test_smoothed_p_is_uniform_even_among_equal_scores() -> None:
    draw = np.random.default_rng(1)
    ordered = np.sort(draw.integers(0, 8, 400))
    scores, seqs = draw.integers(0, 8, 4000), np.arange(4000)
    found = np.array(smoothed_p(ordered, scores, 5, seqs))
    for alpha in (0.1, 0.5, 0.9):
        assert abs(np.mean(found <= alpha) - alpha) < 0.05
    assert found.min() > 0
    assert found.max() < 1
    assert smoothed_p(np.empty(0, np.int64), scores[:1], 5, seqs[:1])[0] <= 1
    assert smoothed_p(ordered, scores[7:8], 5, seqs[7:8]) == [found[7]]


def test_scores_that_are_close_count_as_equal() -> None:
    ordered, seqs = np.full(400, 2006), np.arange(1000)
    moved = np.array(smoothed_p(ordered, np.full(1000, 2007), 5, seqs, 1000))
    assert 0.4 < np.mean(moved) < 0.6
    apart = np.array(smoothed_p(ordered, np.full(1000, 2007), 5, seqs))
    assert apart.max() < 0.01


def test_the_sum_follows_its_formula() -> None:
    cusum, g = Cusum(), 0.0
    for p in uniform(2, 500):
        cusum.observe(p, START)
        g = max(0.0, g + math.log(0.5) - 0.5 * math.log(p))
        assert cusum.nats / 1e6 == pytest.approx(g, abs=1e-3)


def test_the_sum_is_silent_on_uniform_p_and_quick_on_small_ones() -> None:
    cusum = Cusum()
    assert not any(cusum.observe(p, START + n) for n, p in enumerate(uniform(3, LEAST_RUN)))
    alarms = [n for n, p in enumerate(uniform(4, 200)) if cusum.observe(p * p * p, START)]
    assert alarms
    assert alarms[0] < 60


def test_more_events_a_week_need_a_higher_sum() -> None:
    busy, calm = Cusum(), Cusum()
    for _ in range(200_000):
        busy._days[START // DAY_US] = busy._days.get(START // DAY_US, 0) + 1
    small = [0.01] * 12
    steps = [next(n for n, p in enumerate(small) if one.observe(p, START)) for one in (calm, busy)]
    assert steps[0] < steps[1]


def test_days_older_than_a_week_do_not_count() -> None:
    cusum = Cusum()
    for day in range(30):
        cusum.observe(1.0, START + day * DAY_US)
    assert len(cusum._days) <= 7


def test_the_martingale_is_the_mean_of_its_bets() -> None:
    martingale = Martingale()
    values = uniform(5, 50)
    for p in values:
        martingale.observe(p)
    bets = [math.prod(e * p ** (e - 1) for p in values) for e in (n / 20 for n in range(1, 20))]
    assert martingale.log10_milli / 1000 == pytest.approx(math.log10(sum(bets) / 19), abs=2e-3)


def test_the_martingale_seldom_reaches_20_on_exchangeable_data() -> None:
    reached = 0
    for run in range(200):
        martingale = Martingale()
        highest = 0
        for p in uniform(100 + run, 150):
            martingale.observe(p)
            highest = max(highest, martingale.log10_milli)
        reached += highest >= 1000 * math.log10(20)
    assert reached <= 10


def test_the_martingale_detects_a_shift() -> None:
    martingale = Martingale()
    for p in uniform(6, 300):
        martingale.observe(p)
    assert not martingale.detected
    for p in uniform(7, 300):
        martingale.observe(p**4)
    assert martingale.detected


def test_saved_sums_go_on_as_if_nothing_had_been() -> None:
    cusum, martingale = Cusum(), Martingale()
    for p in uniform(8, 100):
        cusum.observe(p, START)
        martingale.observe(p)
    state = snapshot.from_bytes(snapshot.to_bytes({"c": cusum.to_state(), "m": martingale.to_state()}))
    loaded, bets = Cusum.from_state(state["c"]), Martingale.from_state(state["m"])
    for p in uniform(9, 100):
        assert loaded.observe(p, START) == cusum.observe(p, START)
        martingale.observe(p)
        bets.observe(p)
    assert loaded.to_state() == cusum.to_state()
    assert (bets.log10_milli, bets.events) == (martingale.log10_milli, 200)


def test_a_p_of_0_is_no_infinite_amount() -> None:
    assert nats_of(0.0) == nats_of(1e-12)
