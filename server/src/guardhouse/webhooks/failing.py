"""How long an endpoint has done nothing but fail, and when that is long enough to stop sending to it.

The clock starts once two failures without a success between them lie at least 12 h apart, and then counts from
the first of them: one bad night is not five days.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

APART: Final = timedelta(hours=12)
TOGETHER: Final = timedelta(hours=24)  # failures further apart than this do not start the clock
LONG_ENOUGH: Final = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Failing:
    """Failures since the last success: the first of the run that counts, the last, and since when the clock runs."""

    first_at: datetime | None = None
    last_at: datetime | None = None
    since: datetime | None = None

    def fail(self, now: datetime) -> "Failing":
        """Return this after one more failure."""
        first = self.first_at
        if first is None or self.last_at is None or (self.since is None and now - self.last_at > TOGETHER):
            first = now
        since = self.since
        if since is None and now - first >= APART:
            since = first
        return Failing(first, now, since)

    def is_hopeless(self, now: datetime) -> bool:
        """Tell whether nothing has arrived for five days."""
        return self.since is not None and now - self.since >= LONG_ENOUGH


FINE: Final = Failing()
