import math
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.risk import tables

AMOUNTS = st.integers(0, 6_000_000)
HALF_LIVES = st.sampled_from([600, 1800, 3600])


def test_the_committed_tables_are_the_regenerated_ones(tables_tool: ModuleType) -> None:
    assert tables_tool.TARGET.read_bytes() == tables_tool.build()


@given(AMOUNTS, st.integers(0, 10**11), HALF_LIVES)
def test_decay_follows_the_formula(micro: int, elapsed_us: int, half_life_s: int) -> None:
    wanted = micro * 2 ** (-elapsed_us / 1e6 / half_life_s)
    assert abs(tables.decayed(micro, elapsed_us, half_life_s) - wanted) <= 2 + wanted * 1e-6


@given(AMOUNTS, st.lists(st.integers(0, 10**11), min_size=2, max_size=6), HALF_LIVES)
def test_decay_never_rises(micro: int, times: list[int], half_life_s: int) -> None:
    values = [tables.decayed(micro, us, half_life_s) for us in sorted(times)]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= micro for value in values)


def test_one_half_life_halves() -> None:
    assert tables.decayed(1_000_000, 1_800_000_000, 1800) == 500_000
    assert tables.decayed(1_000_000, -5, 1800) == 1_000_000


@given(st.floats(1e-12, 1e12))
def test_log2_is_within_a_thousandth(value: float) -> None:
    assert abs(tables.log2_micro(value) / 1e6 - math.log2(value)) < 1e-3


def test_log2_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        tables.log2_micro(0.0)


@given(st.integers(0, 12_000_000))
def test_risk_follows_the_formula(nats: int) -> None:
    assert abs(tables.risk_hundredths(nats) / 100 - 100 * (1 - math.exp(-nats / 1e6))) < 0.06


def test_risk_ends_at_one_hundred_and_nats_for_inverts_it() -> None:
    assert tables.risk_hundredths(20_000_000) == 10_000
    assert tables.risk_hundredths(0) == 0
    assert tables.risk_hundredths(tables.nats_for(4_000)) >= 4_000
    assert tables.risk_hundredths(tables.nats_for(4_000) - 1_000) < 4_000
    with pytest.raises(ValueError, match="hundredths"):
        tables.nats_for(10_001)
