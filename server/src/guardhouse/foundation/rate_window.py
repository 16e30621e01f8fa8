"""A sliding window: never more than N in *any* span of its length, and the exact moment when the next fits.

Hits that come within one grain of each other share a cell, which counts until its *newest* hit has left: that
bounds the memory and errs against the caller, by less than a grain, so the promise holds to the microsecond.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

MICROSECONDS: Final = 1_000_000
MINUTE: Final = (60 * MICROSECONDS, 10_000)  # span and grain: at most 6,001 cells
DAY: Final = (86_400 * MICROSECONDS, 900 * MICROSECONDS)  # at most 97 cells


@dataclass(slots=True)
class RateWindow:
    """What was admitted within the last ``span``; times are integer microseconds of one clock that never falls.

    A hit counts from its moment until ``span`` later, that moment not included (a half-open window).
    """

    span: int
    grain: int
    total: int = 0
    _cells: deque[list[int]] = field(default_factory=deque)  # [first hit, newest hit, cost], oldest first

    def used(self, now: int) -> int:
        """Forget what has left and return what counts at ``now``."""
        cells, edge = self._cells, now - self.span
        while cells and cells[0][1] <= edge:
            self.total -= cells.popleft()[2]
        return self.total

    def wait(self, now: int, limit: int, cost: int) -> int | None:
        """Return after how many microseconds ``cost`` fits: 0 = now, None = never, it is more than the limit."""
        excess = self.used(now) + cost - limit
        if excess <= 0:
            return 0
        for _, newest, freed in self._cells:
            excess -= freed
            if excess <= 0:
                return newest + self.span - now
        return None

    def add(self, now: int, cost: int) -> None:
        """Count an admitted cost."""
        cells = self._cells
        if cells and now - cells[-1][0] < self.grain:
            cells[-1][1] = now
            cells[-1][2] += cost
        else:
            cells.append([now, now, cost])
        self.total += cost

    def leaves(self, now: int) -> int:
        """Return after how many microseconds the oldest cost leaves; 0 when there is none."""
        return self._cells[0][1] + self.span - now if self._cells else 0

    @property
    def cells(self) -> int:
        """How many cells are held."""
        return len(self._cells)
