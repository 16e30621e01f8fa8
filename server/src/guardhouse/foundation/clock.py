"""The clock as a value: whoever needs the time gets a Clock, so that tests and replays can set it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


class Clock:
    """The time of this machine, in UTC."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.now(UTC)


@dataclass(slots=True)
class SetClock(Clock):
    """A clock that stands still until it is moved: for tests and replays."""

    instant: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        """Return the set instant."""
        return self.instant

    def move(self, seconds: float) -> None:
        """Move the clock by so many seconds, forward or back."""
        self.instant += timedelta(seconds=seconds)


def microseconds(instant: datetime) -> int:
    """Return microseconds since the Unix epoch of an aware instant, exact."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_microseconds(value: int) -> datetime:
    """Return the aware UTC instant so many microseconds after the Unix epoch, exact."""
    return _EPOCH + timedelta(microseconds=value)


def rfc3339(instant: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds and ``Z``: the form of every time the API gives out."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
