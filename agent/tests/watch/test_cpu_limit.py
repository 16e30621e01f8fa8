"""The self limit: begins after ten seconds over it, rests a minute and longer when it is needed again."""

import pytest

from guard_agent.watch.cpu_limit import BEGIN, END, CpuLimit

Place = tuple[float, float]


def run(limit: CpuLimit, seconds: int, share: float, start: Place) -> tuple[list[str], Place]:
    """Let time pass at a share of a core; return what changed, and where time and use stand."""
    now, used = start
    changes = []
    for _ in range(seconds):
        now, used = now + 1, used + share
        change = limit.check(now, used)
        if change is not None:
            changes.append(change)
    return changes, (now, used)


def test_it_begins_after_ten_seconds_over_it_and_ends_after_a_minute() -> None:
    limit = CpuLimit(25)
    changes, at = run(limit, 10, 0.9, (0.0, 0.0))
    assert (changes, limit.limited) == ([], False)
    changes, at = run(limit, 2, 0.9, at)
    assert (changes, limit.limited) == ([BEGIN], True)
    changes, at = run(limit, 58, 0.1, at)
    assert changes == []
    changes, at = run(limit, 3, 0.1, at)
    assert (changes, limit.limited) == ([END], False)


def test_a_short_rise_is_no_reason() -> None:
    limit = CpuLimit(25)
    at = (0.0, 0.0)
    for _ in range(20):
        changes, at = run(limit, 9, 0.9, at)
        assert changes == []
        changes, at = run(limit, 1, 0.0, at)
        assert changes == []


def test_each_further_limit_lasts_twice_as_long_up_to_an_hour() -> None:
    limit = CpuLimit(25)
    at = (0.0, 0.0)
    lengths = []
    for _ in range(9):
        begun = None
        while begun is None or limit.limited:
            changes, at = run(limit, 1, 0.9, at)
            begun = at[0] if BEGIN in changes else begun
        lengths.append(round(at[0] - begun))
    assert lengths[:4] == [60, 120, 240, 480]
    assert lengths[-1] == 3600
    _, at = run(limit, 4000, 0.1, at)
    changes, _ = run(limit, 12, 0.9, at)
    assert changes == [BEGIN]
    assert limit._rest == 60  # after calm it begins small again


@pytest.mark.parametrize("percent", [0, -1])
def test_no_limit_never_limits(percent: float) -> None:
    changes, _ = run(CpuLimit(percent), 100, 1.0, (0.0, 0.0))
    assert changes == []


def test_a_clock_that_stands_still_decides_nothing() -> None:
    limit = CpuLimit(25)
    assert [limit.check(1.0, float(n)) for n in range(50)] == [None] * 50
