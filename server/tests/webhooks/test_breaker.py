from datetime import UTC, datetime, timedelta

import pytest

from guardhouse.webhooks.breaker import Breaker
from guardhouse.webhooks.failing import FINE, Failing

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(10):
        breaker.note(START, success=False)
    return breaker


def test_nine_failures_in_a_row_keep_it_closed_and_the_tenth_opens_it() -> None:
    breaker = Breaker()
    assert not any(breaker.note(START, success=False) for _ in range(9))
    assert breaker.allows(START, 7)
    assert breaker.note(START, success=False)
    assert (breaker.state, breaker.until) == ("open", after(60))
    assert not breaker.allows(after(59), 0)


def test_seven_of_ten_failures_within_five_minutes_open_it() -> None:
    breaker = Breaker()
    outcomes = [True, False, False, True, False, False, True, False, False, False]
    assert [breaker.note(after(n), success=good) for n, good in enumerate(outcomes)][-1]
    assert breaker.state == "open"


def test_failures_older_than_five_minutes_are_forgotten() -> None:
    breaker = Breaker()
    for n in range(6):
        breaker.note(after(n), success=False)
    breaker.note(after(10), success=True)
    for n in range(9):
        breaker.note(after(400 + n), success=n % 2 == 0)
    assert breaker.state == "closed"


def test_after_a_minute_one_probe_goes_and_two_successes_close_it() -> None:
    breaker = opened()
    assert breaker.allows(after(60), 0)
    assert not breaker.allows(after(60), 1)
    assert not breaker.note(after(61), success=True)
    assert breaker.state == "half_open"
    assert breaker.note(after(62), success=True)
    assert breaker.allows(after(62), 30)


def test_each_failed_probe_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    breaker, now, waits = opened(), START, []
    for _ in range(7):
        assert breaker.until is not None
        waits.append((breaker.until - now).total_seconds())
        now = breaker.until
        assert breaker.allows(now, 0)
        breaker.note(now, success=False)
    assert waits == [60, 120, 240, 480, 900, 900, 900]


def test_a_straggler_of_before_changes_nothing_while_it_is_open() -> None:
    breaker = opened()
    assert not breaker.note(after(5), success=True)
    assert (breaker.state, breaker.until) == ("open", after(60))


def hours(*at: float) -> Failing:
    found = FINE
    for hour in at:
        found = found.fail(after(hour * 3600))
    return found


@pytest.mark.parametrize(
    ("failures", "hopeless"),
    [
        ((0, 119), False),  # one failure, and another five days later: nothing was tried in between
        ((0, 6, 119.9), False),
        ((0, 6, 13, 60, 119.9), False),
        ((0, 6, 13, 60, 120), True),
        ((0, 20, 45, 70, 95, 120.1), True),
        ((0, 11, 40, 50, 60, 121), False),  # the clock of the first two ran out; the next begins at 40
        ((0, 11, 40, 50, 60, 160.1), True),
    ],
)
def test_five_days_of_nothing_but_failures_are_enough(failures: tuple[float, ...], hopeless: bool) -> None:  # noqa: FBT001 - a table
    assert hours(*failures).is_hopeless(after(failures[-1] * 3600)) is hopeless
