"""A circuit breaker: stop asking what keeps failing, try again after a while, trust it again after two answers.

Pattern: Nygard, *Release It!* (2007). It opens after 3 failures in a row or when half of the last 20 failed; it stays
open for 60 s, twice as long each time a probe fails, ten minutes at most; one probe at a time then, and two that
succeed close it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

IN_A_ROW: Final = 3
WINDOW: Final = 20
OPEN_SECONDS, LONGEST_SECONDS = 60.0, 600.0
PROBES: Final = 2

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to ask once; what comes of it is told to the breaker with it."""

    era: int


@dataclass(slots=True)
class Breaker:
    """One breaker; ``now`` gives seconds that never go back. A permit is settled exactly once."""

    now: Callable[[], float]
    state: State = "closed"
    _last: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))  # True: it failed
    _in_a_row: int = 0
    _openings: int = 0  # since it was closed last
    _until: float = 0.0
    _probing: bool = False
    _probed: int = 0
    _era: int = 0  # changes with the state: what was asked before says nothing of what is now

    def ask(self) -> Permit | None:
        """Give leave to ask, or None."""
        if self.state == "open":
            if self.now() < self._until:
                return None
            self._enter("half_open")
            self._probed = 0
        if self.state == "half_open":
            if self._probing:
                return None
            self._probing = True
        return Permit(self._era)

    def seconds_left(self) -> float:
        """Return how long it stays open at least."""
        return max(self._until - self.now(), 0.0) if self.state == "open" else 0.0

    def succeeded(self, permit: Permit) -> None:
        """Note an answer."""
        if permit.era != self._era:
            return
        if self.state == "half_open":
            self._probing = False
            self._probed += 1
            if self._probed >= PROBES:
                self._close()
            return
        self._in_a_row = 0
        self._last.append(False)

    def failed(self, permit: Permit) -> None:
        """Note that no answer came, or none that can be used."""
        if permit.era != self._era:
            return
        if self.state == "half_open":
            self._open()
            return
        self._in_a_row += 1
        self._last.append(True)
        if self._in_a_row >= IN_A_ROW or (len(self._last) == WINDOW and 2 * sum(self._last) >= WINDOW):
            self._open()

    def given_back(self, permit: Permit) -> None:
        """Note that nothing was learnt: whoever asked went away first."""
        if permit.era == self._era:
            self._probing = False

    def _open(self) -> None:
        self._enter("open")
        self._until = self.now() + min(OPEN_SECONDS * 2**self._openings, LONGEST_SECONDS)
        self._openings += 1

    def _close(self) -> None:
        self._enter("closed")
        self._openings = self._in_a_row = 0
        self._last.clear()

    def _enter(self, state: State) -> None:
        self.state = state
        self._probing = False
        self._era += 1
