"""The breaker of one endpoint: after many failures it opens, deliveries wait and use up no tries, one probe asks.

Pure and driven by the clock it is given; the dispatcher that owns the endpoint holds the one instance.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

IN_A_ROW: Final = 10
SHARE: Final = 0.7
LEAST_TRIES: Final = 10
WINDOW: Final = timedelta(minutes=5)
FIRST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 900
TO_CLOSE: Final = 2
_REMEMBERED: Final = 4096  # tries of the window that are looked at; the newest count

State = Literal["closed", "open", "half_open"]


@dataclass(slots=True)
class Breaker:
    """Opens after 10 failures in a row, or 70 % of at least 10 tries in 5 minutes; 2 successes close it.

    It stays open 60 s, doubling to 15 min each time a probe fails.
    """

    state: State = "closed"
    until: datetime | None = None
    opened: int = 0
    _row: int = 0
    _good: int = 0
    _tries: deque[tuple[datetime, bool]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _failed: int = 0

    def allows(self, now: datetime, in_flight: int) -> bool:
        """Tell whether one more delivery may go; when the time of an open breaker is over, one at a time."""
        if self.state == "closed":
            return True
        if self.state == "open" and self.until is not None and now >= self.until:
            self.state, self._good = "half_open", 0
        return self.state == "half_open" and in_flight == 0

    def note(self, now: datetime, *, success: bool) -> bool:
        """Take in the end of a try; tells whether the breaker opened or closed by it."""
        if self.state == "closed":
            self._remember(now, success)
            if self._is_bad():
                self._open(now)
                return True
            return False
        if self.state == "open":  # a straggler from before
            return False
        if not success:
            self._open(now)
            return False  # it never was closed in between
        self._good += 1
        if self._good < TO_CLOSE:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Close it and forget everything."""
        self.state, self.until, self.opened = "closed", None, 0
        self._row = self._good = self._failed = 0
        self._tries.clear()

    def _remember(self, now: datetime, success: bool) -> None:  # noqa: FBT001 - the fact itself
        self._row = 0 if success else self._row + 1
        if len(self._tries) == _REMEMBERED:
            self._forget_oldest()
        self._tries.append((now, success))
        self._failed += not success
        while self._tries and self._tries[0][0] < now - WINDOW:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, success = self._tries.popleft()
        self._failed -= not success

    def _is_bad(self) -> bool:
        tries = len(self._tries)
        return self._row >= IN_A_ROW or (tries >= LEAST_TRIES and self._failed >= SHARE * tries)

    def _open(self, now: datetime) -> None:
        seconds = min(FIRST_SECONDS * 2**self.opened, LONGEST_SECONDS)
        self.opened = min(self.opened + 1, 16)
        self.state, self.until, self._good = "open", now + timedelta(seconds=seconds), 0
