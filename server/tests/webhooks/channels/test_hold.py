from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.notices.kind import Severity
from guardhouse.webhooks.channels.hold import Heard, Known, QuietHours, Rules, Tally, Verdict, decide

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
NIGHT = QuietHours(time(22), time(7), "Europe/Berlin")
TELL, HOLD, DROP = Verdict.TELL, Verdict.HOLD, Verdict.DROP


class Channel:
    """A channel that remembers, as the store does."""

    def __init__(self, **rules: object) -> None:
        self.rules = replace(Rules(), **rules)  # type: ignore[arg-type] # a test names members
        self.tally = Tally()
        self.known: dict[str, Known] = {}

    def hear(
        self,
        subject: str,
        severity: Severity = Severity.HIGH,
        *,
        at: float = 0,
        closes: bool = False,
        pages: bool = False,
    ) -> Verdict:
        now = NOON + timedelta(seconds=at)
        heard = Heard(severity, subject, closes, pages, now)
        decision = decide(self.rules, self.tally, self.known.get(subject), heard, now)
        self.tally = decision.tally
        if decision.known is not None:
            self.known[subject] = decision.known
        return decision.verdict


def test_an_incident_is_told_once_and_at_its_end() -> None:
    channel = Channel()
    assert channel.hear("incident:1") is TELL
    assert [channel.hear("incident:1", at=at) for at in (1, 100, 90_000)] == [DROP] * 3
    assert channel.hear("incident:1", Severity.CRITICAL, at=90_001) is DROP
    assert channel.hear("incident:1", Severity.INFO, at=90_002, closes=True) is TELL
    assert channel.hear("incident:2", at=90_003) is TELL
    assert channel.tally.held == 0


def test_an_incident_that_comes_back_is_told_again() -> None:
    channel = Channel()
    channel.hear("incident:1")
    channel.hear("incident:1", closes=True, at=10)
    assert channel.hear("incident:1", at=80) is TELL


def test_escalations_are_told_where_asked_for() -> None:
    channel = Channel(escalations=True)
    assert channel.hear("incident:1", Severity.MEDIUM) is TELL
    assert channel.hear("incident:1", Severity.MEDIUM, at=1) is DROP
    assert channel.hear("incident:1", Severity.CRITICAL, at=2) is TELL
    assert channel.hear("incident:1", Severity.HIGH, at=3) is DROP


def test_a_pager_is_not_told_of_the_end_of_what_it_was_not_told() -> None:
    assert Channel().hear("agent:web", closes=True, pages=True) is DROP
    assert Channel().hear("agent:web", closes=True) is TELL
    channel = Channel()
    channel.hear("agent:web", pages=True)
    assert channel.hear("agent:web", Severity.INFO, at=1, closes=True, pages=True) is TELL
    assert channel.hear("agent:web", Severity.INFO, at=2, closes=True, pages=True) is DROP


def test_the_end_is_told_whatever_the_hour_and_the_count() -> None:
    channel = Channel(max_per_hour=1, quiet=QuietHours(time(12), time(13), "UTC"))
    assert channel.hear("incident:1", Severity.CRITICAL) is TELL
    assert channel.hear("incident:1", Severity.INFO, at=1, closes=True) is TELL


def test_notices_about_one_subject_are_grouped_for_a_minute() -> None:
    channel = Channel()
    assert [channel.hear("key:1", at=at) for at in (0, 1, 59.9)] == [TELL, HOLD, HOLD]
    assert (channel.tally.held, channel.tally.due_at) == (2, NOON + timedelta(seconds=60))
    assert channel.hear("key:2", at=2) is TELL
    assert channel.hear("key:1", Severity.CRITICAL, at=3) is TELL  # worse
    assert channel.hear("key:1", at=63) is TELL


def test_at_most_so_many_in_an_hour_and_the_rest_is_counted() -> None:
    channel = Channel(max_per_hour=3)
    verdicts = [channel.hear(f"key:{n}", at=n) for n in range(10)]
    assert verdicts == [TELL] * 3 + [HOLD] * 7
    assert channel.hear("key:x", Severity.CRITICAL, at=11) is HOLD
    assert channel.tally.held == 8
    assert channel.tally.held_worst is Severity.CRITICAL
    assert channel.tally.held_since == NOON + timedelta(seconds=3)
    assert channel.tally.due_at == NOON + timedelta(hours=1)
    assert channel.hear("key:y", at=3600) is TELL
    assert channel.tally.sent == 1


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-15T20:59:59+00:00", None),
        ("2026-01-15T21:00:00+00:00", "2026-01-16T06:00:00+00:00"),
        ("2026-01-16T05:59:59+00:00", "2026-01-16T06:00:00+00:00"),
        ("2026-01-16T06:00:00+00:00", None),
        ("2026-03-28T22:00:00+00:00", "2026-03-29T05:00:00+00:00"),  # the clocks go forward that night
        ("2026-07-15T20:00:00+00:00", "2026-07-16T05:00:00+00:00"),
    ],
)
def test_quiet_hours_span_midnight_and_follow_the_zone(at: str, until: str | None) -> None:
    found = NIGHT.until(datetime.fromisoformat(at))
    assert found == (until and datetime.fromisoformat(until))


def test_in_quiet_hours_only_what_is_critical_passes() -> None:
    channel = Channel(quiet=QuietHours(time(11), time(14), "UTC"))
    assert channel.hear("incident:1", Severity.HIGH) is HOLD
    assert channel.hear("incident:1", Severity.CRITICAL, at=1) is TELL
    assert channel.tally.due_at == NOON + timedelta(hours=2)
    assert channel.hear("key:1", Severity.HIGH, at=7200) is TELL


def test_a_summary_wakes_nobody() -> None:
    channel = Channel(max_per_hour=1, quiet=QuietHours(time(12, 30), time(15), "UTC"))
    channel.hear("key:1")
    assert channel.hear("key:2", at=1) is HOLD
    assert channel.tally.due_at == NOON + timedelta(hours=3)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["incident:1", "incident:2", "key:1", "key:2", "agent:1"]),
        st.sampled_from(list(Severity)),
        st.booleans(),
        st.integers(0, 900),
    ),
    max_size=80,
)


@given(EVENTS, st.integers(1, 5), st.integers(0, 1))
def test_nothing_is_lost_and_nobody_is_flooded(
    events: Sequence[tuple[str, Severity, bool, int]], most: int, night: int
) -> None:
    """Each notice is told, or counted, or about an open incident; alerts in an hour stay within their number."""
    channel = Channel(max_per_hour=most, quiet=QuietHours(time(12, 30), time(16), "UTC") if night else None)
    alerts: list[float] = []
    held, now = 0, 0.0
    for subject, severity, closes, pause in events:
        now += pause
        before = channel.known.get(subject)
        verdict = channel.hear(subject, severity, at=now, closes=closes)
        held += verdict is HOLD
        if verdict is DROP:
            assert before is not None
            assert before.open
            assert subject.startswith("incident:")
        ends = closes and before is not None and before.open
        if verdict is TELL and not ends:
            alerts.append(now)
        assert channel.tally.held == held
        assert (channel.tally.due_at is not None) == (held > 0)
    for start in alerts[::most]:
        assert sum(start <= at < start + 3600 for at in alerts) <= 2 * most
