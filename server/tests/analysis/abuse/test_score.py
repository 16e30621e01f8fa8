"""Abuse scores: the published examples, and independence of order, batching and machine."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.abuse import score
from guardhouse.analysis.abuse.classes import WEIGHTS_IN_THOUSANDTHS

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[4] / "contract/vectors/agents/ip_scores.json").read_text(encoding="utf-8")
)
NOW = 2_900_000
places = st.tuples(st.sampled_from(sorted(WEIGHTS_IN_THOUSANDTHS)), st.integers(NOW - 150, NOW + 2))
tables = st.dictionaries(places, st.integers(1, 6000), max_size=25)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    counts = {(event_type, NOW - age): count for event_type, age, count in case["counts"]}
    active = score.activity(counts, NOW)
    assert (active, score.score_of(active)) == (case["activity"], case["score"])
    assert score.band_of(case["score"]) == case["band"]


def test_the_tables_are_the_frozen_ones() -> None:
    def digest(table: tuple[int, ...]) -> str:
        return hashlib.sha256(",".join(map(str, table)).encode()).hexdigest()

    assert digest(score.LOG2) == VECTORS["log2_sha256"]
    assert digest(score.HALF) == VECTORS["half_sha256"]
    # In integers alone: the rounded logarithm is half the bits of the doubled square.
    for count in (0, 1, 2, 3, 15, 100, 999, 4095, 4096):
        assert score.LOG2[count] == ((1 + count) ** 2000 * 2).bit_length() - 1 >> 1


@given(tables)
def test_contributions_sum_to_the_activity(counts: dict[tuple[str, int], int]) -> None:
    listed = score.contributions(counts, NOW)
    assert sum(each.points for each in listed) == score.activity(counts, NOW)
    assert all(each.points >= 0 for each in listed)


@given(st.lists(places, max_size=200), st.randoms(use_true_random=False), st.integers(1, 7))
def test_neither_order_nor_batches_change_a_score(
    events: list[tuple[str, int]], chance: Any, batches: int
) -> None:
    def counted(parts: list[list[tuple[str, int]]]) -> dict[tuple[str, int], int]:
        counts: dict[tuple[str, int], int] = {}
        for part in parts:
            for place in part:
                counts[place] = counts.get(place, 0) + 1
        return counts

    shuffled = events[:]
    chance.shuffle(shuffled)
    one, many = counted([events]), counted([shuffled[start::batches] for start in range(batches)])
    assert score.activity(one, NOW) == score.activity(many, NOW)
    assert score.contributions(one, NOW) == score.contributions(many, NOW)


@given(tables, tables, st.sampled_from(score.BANDS), st.integers(0, 200))
def test_more_events_never_lower_a_score_and_time_never_raises_one(
    counts: dict[tuple[str, int], int], more: dict[tuple[str, int], int], band: score.Band, age: int
) -> None:
    both = counts | {place: counts.get(place, 0) + count for place, count in more.items()}
    assert score.activity(both, NOW) >= score.activity(counts, NOW)
    assert score.activity(counts, NOW + age) <= score.activity(counts, NOW)
    falls = score.falls_at(counts, NOW, band)
    if falls is not None:
        left = score.band_after(band, score.score_of(score.activity(counts, falls)))
        assert score.BANDS.index(left) < score.BANDS.index(band)
        if falls > NOW + 1:
            kept = score.band_after(band, score.score_of(score.activity(counts, falls - 1)))
            assert kept == band or score.BANDS.index(kept) > score.BANDS.index(band)


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("none", 299, "none"),
        ("none", 300, "medium"),
        ("medium", 250, "medium"),
        ("medium", 249, "none"),
        ("none", 900, "critical"),
        ("critical", 800, "critical"),
        ("critical", 799, "high"),
        ("critical", 560, "high"),
        ("critical", 549, "medium"),
        ("critical", 0, "none"),
        ("medium", 599, "medium"),
        ("high", 550, "high"),
    ],
)
def test_a_band_is_left_only_fifty_points_below_its_threshold(
    before: score.Band, value: int, after: score.Band
) -> None:
    assert score.band_after(before, value) == after


@given(st.integers(1, 999))
def test_the_least_activity_of_a_score(value: int) -> None:
    least = score.activity_for(value)
    assert score.score_of(least) >= value > score.score_of(least - 1)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(sorted(WEIGHTS_IN_THOUSANDTHS)), st.integers(NOW - 60, NOW)),
        st.integers(1, 6000),
        max_size=25,
    ),
    st.integers(0, 24),
)
def test_time_does_not_change_a_rank(counts: dict[tuple[str, int], int], age: int) -> None:
    rank = score.rank_of(counts, NOW)
    if rank is None:
        assert score.activity(counts, NOW) == 0
    elif score.activity(counts, NOW + age) > 100:
        assert score.rank_of(counts, NOW + age) == pytest.approx(rank, abs=0.01)
        value = score.score_of(score.activity(counts, NOW))
        assert rank >= score.rank_for(value, NOW) - 0.01
