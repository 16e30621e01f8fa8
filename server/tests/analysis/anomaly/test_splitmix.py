"""Repeatable choices: the published values, and what `derive` keeps apart."""

import numpy as np

from guardhouse.analysis.anomaly.splitmix import Purpose, derive, shuffled, uniform, unit, value, values

PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]  # of the reference code with seed 1234567


def test_published_values() -> None:
    assert [value(1234567, t) for t in range(5)] == PUBLISHED
    assert values(1234567, 0, 5).tolist() == PUBLISHED


def test_any_value_without_those_before_it() -> None:
    assert values(9, 100, 3).tolist() == values(9, 0, 103)[100:].tolist()


def test_purposes_and_positions_have_their_own_draws() -> None:
    seeds = {derive(1, purpose, seq) for purpose in Purpose for seq in range(100)}
    assert len(seeds) == len(Purpose) * 100


def test_shuffled_is_a_permutation() -> None:
    assert sorted(shuffled(3, 500).tolist()) == list(range(500))
    assert shuffled(3, 500).tolist() != shuffled(4, 500).tolist()


def test_uniform_is_even() -> None:
    drawn = uniform(5, 0, 100_000)
    assert [unit(5, t) for t in range(100)] == drawn[:100].tolist()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(np.mean(drawn < 0.1) - 0.1) < 3 * (0.1 * 0.9 / 100_000) ** 0.5
