from datetime import UTC, datetime, timedelta

import pytest

from guardhouse.webhooks.schedule import JITTER, PRESETS, next_try, read_retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pauses(preset: str, delivery: str = "d") -> list[float]:
    """Return every pause of a schedule, until the last try."""
    found, tried = [], 1
    while (then := next_try(PRESETS[preset], delivery=delivery, tried=tried, now=NOW)) is not None:
        found.append((then - NOW).total_seconds())
        tried += 1
    return found


def test_the_standard_makes_ten_tries_in_75_hours() -> None:
    assert len(pauses("standard")) == 9
    assert sum(PRESETS["standard"]) / 3600 == pytest.approx(75.585, abs=0.01)
    assert PRESETS["three_strikes"] == (2.0, 4.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_jitter_stays_within_a_fifth_and_repeats(preset: str) -> None:
    seen = set()
    for n in range(200):
        found = pauses(preset, str(n))
        assert found == pauses(preset, str(n))
        for pause, step in zip(found, PRESETS[preset], strict=True):
            assert step * (1 - JITTER) - 1e-5 <= pause <= step * (1 + JITTER) + 1e-5
        seen.add(found[0])
    assert len(seen) > 190
    assert max(seen) > PRESETS[preset][0] * 1.15
    assert min(seen) < PRESETS[preset][0] * 0.85


@pytest.mark.parametrize(("asked", "pause"), [(0.5, None), (600, 600), (1e9, 86_400)])
def test_what_the_receiver_asks_for_counts_up_to_a_day(asked: float, pause: float | None) -> None:
    then = next_try((5.0,), delivery="d", tried=1, now=NOW, retry_after=asked)
    plain = next_try((5.0,), delivery="d", tried=1, now=NOW)
    assert then == (plain if pause is None else NOW + timedelta(seconds=pause))


def test_asking_for_more_gives_no_more_tries() -> None:
    assert next_try((5.0,), delivery="d", tried=2, now=NOW, retry_after=60) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 400, 86_400),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_400),
        ("Thu, 99 Jan 2026 00:02:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, NOW) == seconds
