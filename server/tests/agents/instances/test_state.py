"""States of a process, by what it said and how long ago; intervals are learned, clocks may jump."""

from datetime import timedelta

import pytest

from guardhouse.agents.instances.state import (
    LONGEST,
    SHORTEST,
    UNKNOWN_INTERVAL,
    add_gap,
    due_after,
    interval_of,
    state_of,
)

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("silence", "health", "waiting", "state"),
    [
        (timedelta(0), "healthy", 0, "healthy"),
        (-timedelta(hours=1), None, 0, "healthy"),  # our own clock was set back
        (2 * MINUTE - timedelta.resolution, "degraded", 0, "degraded"),
        (2 * MINUTE, "degraded", 0, "late"),
        (4 * MINUTE - timedelta.resolution, "healthy", 9, "late"),
        (4 * MINUTE, "healthy", 0, "silent"),
        (4 * MINUTE, "healthy", 9, "unclean"),
        (timedelta(days=900), "failed", 0, "silent"),
    ],
)
def test_states(silence: timedelta, health: str | None, waiting: int, state: str) -> None:
    found = state_of(closed=None, health=health, waiting=waiting, silence=silence, interval=MINUTE)
    assert found == state
    wait = due_after(found, MINUTE)
    if wait is not None:  # the next look comes when the state is another one, and not before
        after = state_of(closed=None, health=health, waiting=waiting, silence=wait, interval=MINUTE)
        before = state_of(
            closed=None, health=health, waiting=waiting, silence=wait - timedelta.resolution, interval=MINUTE
        )
        assert (before, after == found) == (found, False)


def test_what_is_over_stays_so() -> None:
    found = state_of(closed="ended", health=None, waiting=1, silence=timedelta(days=9), interval=MINUTE)
    assert (found, due_after(found, MINUTE)) == ("ended", None)


@pytest.mark.parametrize(
    ("gaps", "regular", "irregular"),
    [
        ([], 300, 300), ([120], 120, 300), ([60, 61, 3600], 61, 300), ([1, 1, 1], 60, 300),
        ([9, 9, 9, 9, 9, 90_000], 60, 300), ([86_400] * 5, 86_400, 86_400), ([600, 600, 30], 600, 600),
    ],
)  # fmt: skip
def test_the_interval_is_the_median_of_the_last_gaps_within_bounds(
    gaps: list[int], regular: int, irregular: int
) -> None:
    assert interval_of(gaps, irregular=False) == timedelta(seconds=regular)
    assert interval_of(gaps, irregular=True) == timedelta(seconds=irregular)
    assert SHORTEST <= interval_of(gaps, irregular=False) <= LONGEST


def test_gaps_that_a_clock_made_up_are_left_out() -> None:
    assert add_gap([1, 2, 3, 4, 5], timedelta(seconds=6)) == [2, 3, 4, 5, 6]
    for jump in (-timedelta(hours=1), timedelta(0), timedelta(days=365)):
        assert add_gap([60], jump) == [60]
    assert timedelta(seconds=300) == UNKNOWN_INTERVAL
