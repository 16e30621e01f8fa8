"""The pace of one endpoint: GCRA, which spaces sends evenly and needs one number of memory."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """At most ``per_second`` sends a second, none saved up. Times are seconds of a monotonic clock.

    Source: the generic cell rate algorithm, ITU-T I.371 annex A.
    """

    per_second: float
    _next: float = 0.0

    def wait_seconds(self, now: float) -> float:
        """Return how long the next send has to wait; 0 = it may go."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Count one send that goes now."""
        self._next = max(self._next, now) + 1.0 / self.per_second
