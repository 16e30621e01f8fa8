from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.windows import JudgedWindow, WindowScores

ONE_IN_1000 = 3_000_000


def totals(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).gamma(20, 2000, count).astype(np.int64)


def feed(
    windows: WindowScores, values: NDArray[np.int64], first_seq: int, flags: NDArray[np.bool_] | None = None
) -> list[JudgedWindow]:
    given = np.zeros(values.size, np.bool_) if flags is None else flags
    seqs = np.arange(first_seq, first_seq + values.size)
    return windows.observe(values, given, seqs, ONE_IN_1000, 0.5)


def with_burst(seed: int) -> NDArray[np.int64]:
    values = totals(6000, seed)
    values[5003:5040:4] = 90_000  # ten events, none of which is beyond what was seen before
    values[400] = values[2100] = values[4400] = 95_000
    return values


def test_a_burst_is_told_though_no_event_stands_out_and_windows_never_overlap() -> None:
    told = feed(WindowScores(50, 10), with_burst(1), 1)
    burst = [one for one in told if one.first_seq <= 5040 and one.last_seq >= 5003]
    assert 1 <= len(burst) <= 2
    assert all(one.last_seq - one.first_seq == 49 for one in burst)
    assert all(after.first_seq > before.last_seq for before, after in pairwise(told))
    assert len(told) <= 4
    values = with_burst(1)[burst[0].first_seq - 1 : burst[0].last_seq]
    assert burst[0].score == int(np.sort(values)[-5:].sum())


def test_a_window_with_a_candidate_is_not_told() -> None:
    flags = np.zeros(6000, np.bool_)
    flags[5000:5060:10] = True
    told = feed(WindowScores(50, 10), with_burst(1), 1, flags)
    assert not [one for one in told if 4900 <= one.first_seq <= 5040]


def test_nothing_is_told_before_a_hundred_windows() -> None:
    values = totals(1000, 2)
    values[800:850] = 500_000
    assert feed(WindowScores(50, 10), values, 1) == []


@pytest.mark.parametrize(("size", "hop"), [(50, 10), (8, 4), (100, 20), (10, 10)])
def test_blocks_of_any_length_give_the_same_windows(size: int, hop: int) -> None:
    values = with_burst(3)
    whole = feed(WindowScores(size, hop), values, 1)
    cut, parts, at = WindowScores(size, hop), [], 0
    for length in [1, 7, 60, 3, 1000, 2, 400, 2500]:
        parts += feed(cut, values[at : at + length], 1 + at)
        at += length
    cut = WindowScores.from_state(snapshot.from_bytes(snapshot.to_bytes(cut.to_state())))
    parts += feed(cut, values[at:], 1 + at)
    assert parts == whole


def test_usual_windows_are_seldom_told() -> None:
    told = feed(WindowScores(50, 10), totals(60_000, 4), 1)
    assert len(told) <= 12  # of 6,000 windows, a fifth of them apart from each other
