import random
from collections.abc import Iterable

import pytest

from guardhouse.analysis.risk.head import Head, grams
from guardhouse.analysis.risk.surprise import call_number, gram
from guardhouse.analysis.risk.train_head import (
    JudgedRun,
    area,
    distinct_runs,
    fit,
    highest_score,
    train_head,
)

QUIET = ("read", "write", "openat", "close", "lseek", "mmap")


def judged(group: str, calls: Iterable[str], *, confirmed: bool) -> JudgedRun:
    key, keys = 0, []
    for call in calls:
        key = gram(key, call_number(call))
        keys.append(key)
    return JudgedRun(group, tuple(keys), confirmed)


def runs(confirmed: int, harmless: int, seed: int = 1) -> list[JudgedRun]:
    """Runs of quiet calls; a confirmed one has a few of another kind somewhere in its first half."""
    chance = random.Random(seed)
    out = []
    for n in range(confirmed + harmless):
        calls = chance.choices(QUIET, k=chance.randrange(12, 80))
        if n < confirmed:
            at = chance.randrange(len(calls) // 2)
            calls[at:at] = ["socket", "connect", "dup2"]
        out.append(judged(f"{n // 3}", calls, confirmed=n < confirmed))
    return out


@pytest.mark.parametrize(("confirmed", "harmless"), [(49, 500), (50, 499), (0, 0)])
def test_too_few_runs_make_no_head(confirmed: int, harmless: int) -> None:
    assert train_head(runs(confirmed, harmless), 1, "a") is None


def test_a_head_tells_runs_apart_that_it_has_not_seen() -> None:
    made = train_head(runs(60, 500), 4, "audit.v1")
    assert made is not None
    assert (made.head.version, made.head.alphabet, made.confirmed, made.harmless) == (4, "audit.v1", 60, 500)
    assert made.auc > 0.97
    assert made.good
    fresh = runs(30, 30, seed=2)
    low = [highest_score(made.head, run.keys) for run in fresh if not run.confirmed]
    high = [highest_score(made.head, run.keys) for run in fresh if run.confirmed]
    assert area(low, high) > 0.97


def test_runs_that_are_judged_by_chance_make_no_good_head() -> None:
    chance = random.Random(5)
    given = [
        judged(str(n), chance.choices(QUIET, k=30), confirmed=n < 60)
        for n in range(560)
    ]  # fmt: skip
    made = train_head(given, 1, "a")
    assert made is not None
    assert not made.good


def test_the_order_of_runs_changes_no_byte() -> None:
    given = runs(50, 500)
    shuffled = given.copy()
    random.Random(9).shuffle(shuffled)
    one, other = train_head(given, 1, "a"), train_head(shuffled, 1, "a")
    assert one is not None
    assert other is not None
    assert (one.head.pack(), one.auc) == (other.head.pack(), other.auc)


def test_equal_runs_are_one_and_runs_judged_both_ways_are_none() -> None:
    calls = ["read"] * 12
    same = [judged("a", calls, confirmed=False), judged("b", calls, confirmed=False)]
    assert distinct_runs(same) == same[:1]
    torn = [*same, judged("c", calls, confirmed=True)]
    assert distinct_runs(torn) == []
    assert distinct_runs([judged("d", ["read"] * 9, confirmed=True)]) == []


def test_prefixes_are_learned_too() -> None:
    """What a run shows in its first ten calls is enough to be told apart, however long it goes on."""
    chance = random.Random(2)
    given = []
    for n in range(200):
        start = ["dup2" if n % 2 else "getpid", *chance.choices(QUIET, k=11)]
        given.append(judged(str(n), start + chance.choices(QUIET, k=500), confirmed=bool(n % 2)))
    made = fit(distinct_runs(given), 1, "a")
    early = [highest_score(made, run.keys[:10]) for run in given]
    assert area(early[::2], early[1::2]) > 0.9


def test_nothing_to_learn_from_is_a_head_that_says_nothing() -> None:
    made = fit([], 1, "a")
    assert (made.words, made.bias) == ((), 0)


def test_only_grams_that_two_runs_share_get_a_weight() -> None:
    made: Head = fit(
        distinct_runs(
            [judged("a", ["read"] * 12, confirmed=False), judged("b", ["read"] * 13, confirmed=True)]
        ),
        1,
        "a",
    )
    shared = {word for key in judged("a", ["read"] * 12, confirmed=False).keys for word in grams(key)}
    assert set(made.words) == shared


def test_the_area_counts_ties_half() -> None:
    assert area([0, 1], [1, 2]) == pytest.approx(0.875)
    assert area([], [1]) == 0.0
