"""Stops sending to a server that fails, and lets one batch through to see whether it is back.

CLOSED → OPEN after 5 failures in a row; OPEN lasts uniform(0.5, 1) · min(60, 5 · 2^k) seconds; then one probe
(HALF_OPEN) closes it, k = 0, or opens it again, k + 1. Times are monotonic seconds.
"""

import random
from typing import Final

CLOSED: Final = "CLOSED"
OPEN: Final = "OPEN"
HALF_OPEN: Final = "HALF_OPEN"
_FAILURES: Final = 5
_FIRST_SECONDS: Final = 5.0
_LONGEST_SECONDS: Final = 60.0


class Breaker:
    """The breaker of one lane."""

    def __init__(self, chance: random.Random) -> None:
        self.state = CLOSED
        self.failures = 0
        self._chance = chance
        self._openings = 0
        self._until = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until something may be sent; at 0 while OPEN the next batch is the probe."""
        if self.state == OPEN:
            if now < self._until:
                return self._until - now
            self.state = HALF_OPEN
        return 0.0

    def succeed(self) -> None:
        """Note an answer that shows the server at work."""
        self.state, self.failures, self._openings = CLOSED, 0, 0

    def fail(self, now: float) -> None:
        """Note a failure that may pass."""
        self.failures += 1
        if self.state == HALF_OPEN or self.failures >= _FAILURES:
            longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(self._openings, 10))
            self._until = now + self._chance.uniform(0.5, 1.0) * longest
            self._openings += 1
            self.state = OPEN
