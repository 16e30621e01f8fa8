"""Windows in this process: all policies of a call or none, decided without waiting for anything."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from guardhouse.foundation.rate_window import RateWindow
from guardhouse.usage.policy import NEVER, Policy, Reading, Verdict

MOST_WINDOWS: Final = 200_000


def monotonic_microseconds() -> int:
    """Return the time of a clock that never falls."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class Share:
    """This process's part of every limit: one of ``processes``, and its place among them from 0.

    The parts add up to the limit. Each process takes one at least, or it could never serve: only where there are
    more processes than the limit has units do the parts add up to more.
    """

    processes: int = 1
    place: int = 0

    def of(self, limit: int) -> int:
        """Return this process's part of a limit."""
        if self.processes == 1:
            return limit
        whole, rest = divmod(limit, self.processes)
        return max(1, whole + (self.place < rest))


@dataclass(slots=True)
class LocalWindows:
    """Every window that counts something now; the one unused for longest goes when there are too many."""

    now: Callable[[], int] = monotonic_microseconds
    share: Share = field(default_factory=Share)
    _windows: dict[str, RateWindow] = field(default_factory=dict)

    def take(self, policies: Sequence[Policy], cost: int = 1) -> Verdict:
        """Admit a call if every policy lets it in; a refused call costs nothing."""
        now, known, share = self.now(), self._windows, self.share
        alone = share.processes == 1
        found, fits = [], cost > 0
        for policy in policies:
            window = known.get(policy.place) or self._new_window(policy)
            limit = policy.limit if alone else share.of(policy.limit)
            wait = window.wait(now, limit, cost)
            if wait != 0:
                fits = False
            found.append((window, limit, NEVER if wait is None else wait))
        readings = []
        for window, limit, wait in found:
            if fits:
                window.add(now, cost)
            readings.append(Reading(max(0, limit - window.total), window.leaves(now), wait))
        return Verdict(policies, readings)

    def note(self, policies: Sequence[Policy], cost: int) -> None:
        """Count what was admitted elsewhere, so that this process knows it when it decides alone."""
        now = self.now()
        for policy in policies:
            window = self._windows.get(policy.place) or self._new_window(policy)
            window.used(now)
            window.add(now, cost)

    def peek(self, policy: Policy) -> int:
        """Return what a policy's window counts now."""
        window = self._windows.get(policy.place)
        return 0 if window is None else window.used(self.now())

    def sweep(self) -> int:
        """Forget windows that count nothing any more; returns how many are left."""
        now = self.now()
        for key in [key for key, window in self._windows.items() if not window.used(now)]:
            del self._windows[key]
        return len(self._windows)

    def _new_window(self, policy: Policy) -> RateWindow:
        if len(self._windows) >= MOST_WINDOWS and self.sweep() >= MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]
        window = self._windows[policy.place] = RateWindow(policy.span, policy.grain)
        return window
