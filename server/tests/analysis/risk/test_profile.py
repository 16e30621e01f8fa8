# ruff: noqa: S108 - paths are data here, nothing is written

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk.profile import (
    BINS,
    MEMO_LIMIT,
    NO_LIMIT,
    Baseline,
    Profile,
    ProfileSet,
    bin_of,
    habit_factor,
    path_class,
    q999,
    upper_edge,
)
from guardhouse.analysis.risk.surprise import CallCounts, gram


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/etc/cron.d/x", "/etc/cron.d"),
        ("/etc/../root/x", ".."),
        ("a/b", "rel"),
        ("/tmp/x/y", "/tmp"),
        ("/var/tmp/a", "/var/tmp"),
        ("/dev/shm", "/dev/shm"),
        ("/run/user/1000/bus", "/run/user"),
        ("/proc/4711/maps", "/proc/#"),
        ("/srv/0a1b2c3d/f", "/srv/#"),
        ("/srv/facade/f", "/srv/#"),
        ("/srv/abc/f", "/srv/abc"),
        ("//usr//lib/x", "/usr/lib"),
        ("/", "/"),
    ],
)
def test_path_classes(path: str, wanted: str) -> None:
    assert path_class(path) == wanted


@given(st.integers(1, 100_000_000))
def test_bins_hold_their_values(mean: int) -> None:
    index = bin_of(mean)
    assert 0 <= index < BINS
    if index < BINS - 1:
        assert mean <= upper_edge(index) + 2
    if index > 0:
        assert mean >= upper_edge(index - 1) - 2


def test_edges_are_eighths_of_an_octave() -> None:
    for index in range(BINS):
        assert abs(upper_edge(index) / 1e6 - 0.25 * 2 ** ((index + 1) / 8)) < 1e-3 * 2 ** (index / 8)


def test_the_limit_is_infinite_under_five_hundred_values() -> None:
    histogram = [0] * BINS
    histogram[10] = 499
    assert q999(histogram) == NO_LIMIT
    histogram[10] = 999
    histogram[40] = 1
    assert q999(histogram) == upper_edge(10)
    histogram[40] = 2
    assert q999(histogram) == upper_edge(40)


@pytest.mark.parametrize(
    ("hits", "runs", "wanted"), [(0, 10, 1.0), (10, 10, 0.0), (3, 0, 1.0), (20, 10, 0.0)]
)
def test_habituation_at_its_ends(hits: int, runs: int, wanted: float) -> None:
    assert habit_factor(hits, runs) == wanted * 1_000_000


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_habituation_is_the_formula(hits: int, runs: int) -> None:
    hits = min(hits, runs)
    wanted = math.log((runs + 1) / (hits + 1)) / math.log(runs + 1)
    assert abs(habit_factor(hits, runs) / 1e6 - wanted) < 1e-3


def made(calls: int = 0, runs: int = 1) -> Profile:
    baseline = Baseline()
    baseline.calls = calls
    baseline.runs = runs
    baseline.hits = {"rule.a": runs}
    baseline.edges = {"/bin/sh"}
    baseline.paths = {"r /etc/ssl"}
    key = 0
    for call in (1, 2, 3, 1, 2, 3, 1, 2):
        key = gram(key, call)
        baseline.counts.add(key)
    return Profile("/srv/app", "strace.full.v1", "web", 3, baseline, CallCounts())


def test_maturity_grows_with_calls_and_shrinks_with_losses() -> None:
    assert made(0).maturity(16) == 0
    assert made(2_000).maturity(16) == 500_000
    assert made(2_000).maturity(8) == 250_000
    subset = Profile("/srv/app", "audit.v1", "web", 3, made(500).baseline, CallCounts())
    assert subset.maturity(16) == 500_000


@given(st.lists(st.integers(1, 5), min_size=4, max_size=12))
def test_memo_and_computation_agree(calls: list[int]) -> None:
    profile, fresh = made(), made()
    for _ in range(2):
        key = 0
        for call in calls:
            key = gram(key, call)
            fresh.memo.clear()
            remembered = profile.memo.get(key)
            assert (profile.bits(key) if remembered is None else remembered) == fresh.bits(key)


def test_the_memo_is_bounded() -> None:
    profile = made()
    profile.memo = dict.fromkeys(range(MEMO_LIMIT), 0)
    profile.bits(gram(0, 1))
    assert len(profile.memo) == 1


def test_paths_and_edges_are_known_by_class_and_program() -> None:
    profile = made()
    assert profile.knows_path("r", "/etc/ssl/certs/ca.pem")
    assert not profile.knows_path("w", "/etc/ssl/certs/ca.pem")
    assert profile.knows_edge("/bin/sh")
    assert not profile.knows_edge("/bin/id")
    assert profile.name == "app@web"


def test_a_set_packs_and_unpacks_to_the_same_bytes() -> None:
    profiles = ProfileSet("web", 3)
    profiles.baselines[("/srv/app", "strace.full.v1")] = made(10).baseline
    profiles.everyone["strace.full.v1"] = made().baseline.counts
    again = ProfileSet.unpack(profiles.pack())
    assert again.pack() == profiles.pack()
    assert again.newest("/srv/app", "audit.v1") is None
    assert again.at("/srv/app", "strace.full.v1", 2) is None
    assert again.at("/srv/app", "strace.full.v1", 3) is again.newest("/srv/app", "strace.full.v1")
