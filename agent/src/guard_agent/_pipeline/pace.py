"""How fast one lane sends: more while all goes well, half as fast when the server asks for less.

Begins at 10 batches a second, one more after each second without trouble up to 50, halved by 429, 503 and timeouts down
to 0.2; the server's own `RateLimit` headers bound it further. Times are monotonic seconds.
"""

from typing import Final

_FIRST: Final = 10.0
_FASTEST: Final = 50.0
_SLOWEST: Final = 0.2


class Pace:
    """The pacer of one lane."""

    def __init__(self) -> None:
        self.rate = _FIRST
        self._next = 0.0
        self._clean_since = 0.0
        self._held_until = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next batch may leave."""
        return max(0.0, self._next - now, self._held_until - now)

    def sent(self, now: float) -> None:
        """Note that a batch leaves now."""
        # A late batch does not earn the ones after it a burst, beyond one.
        self._next = max(self._next, now - 1 / self.rate) + 1 / self.rate

    def clean(self, now: float) -> None:
        """Note an answer without trouble."""
        if self._clean_since == 0.0:
            self._clean_since = now
        elif now - self._clean_since >= 1.0:
            self.rate = min(_FASTEST, self.rate + 1.0)
            self._clean_since = now

    def slow_down(self) -> None:
        """Note that the server had too much."""
        self.rate = max(_SLOWEST, self.rate / 2)
        self._clean_since = 0.0

    def hold(self, now: float, seconds: float) -> None:
        """Send nothing for so long."""
        self._held_until = max(self._held_until, now + seconds)

    def obey(self, now: float, remaining: int, reset_seconds: float) -> None:
        """Follow the server's own count: nothing left means waiting for its window to end."""
        if remaining <= 0:
            self.hold(now, reset_seconds)
