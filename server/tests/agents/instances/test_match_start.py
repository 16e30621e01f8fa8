"""Processes of one installation are told apart by when they started."""

from datetime import UTC, datetime, timedelta

from guardhouse.agents.instances.match_start import TOLERANCE, Candidate, match_start

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
REPORT = START + timedelta(minutes=5)


def after(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def test_the_nearest_start_within_the_tolerance() -> None:
    known = [Candidate(1, START, None), Candidate(2, after(60), None)]
    found = [match_start(known, after(at), REPORT) for at in (0, 25, 35, 60, -50, 110)]
    assert [one.no if one else None for one in found] == [1, 1, 2, 2, 1, 2]
    assert match_start(known, START - TOLERANCE - timedelta(milliseconds=1), REPORT) is None
    assert match_start([], START, REPORT) is None


def test_a_process_whose_start_is_not_known_yet_is_taken_before_a_new_one_is_made() -> None:
    known = [Candidate(1, after(5_000), None), Candidate(2, None, None)]
    assert match_start(known, START, REPORT) == known[1]
    assert match_start(known, after(5_001), REPORT) == known[0]


def test_twins_that_started_within_the_tolerance_are_two_because_nobody_reports_twice_so_soon() -> None:
    first = Candidate(1, START, REPORT)
    assert match_start([first], after(10), REPORT + timedelta(milliseconds=10)) is None
    twins = [first, Candidate(2, after(10), REPORT + timedelta(milliseconds=10))]
    later = REPORT + timedelta(minutes=5)
    assert match_start(twins, after(0.4), later) == twins[0]
    assert match_start(twins, after(9.8), later) == twins[1]


def test_the_same_report_once_more_is_the_same_process() -> None:
    assert match_start([Candidate(1, START, REPORT)], START, REPORT) is not None


def test_a_client_clock_that_was_set_back_between_reports_changes_nothing() -> None:
    assert match_start([Candidate(1, START, REPORT)], START, REPORT - timedelta(hours=1)) is not None
