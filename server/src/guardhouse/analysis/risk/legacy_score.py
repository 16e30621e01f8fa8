"""`risk_score`: the first product's formula, unchanged, under its own name and nowhere else.

Over the process's events whose whole second is at most 300 before that of its latest event:
`min(100, 10 x mean(weight))`. Kept for compatibility: a mean is diluted by harmless calls (see `docs`).
"""

from collections.abc import Iterable
from typing import Final

WINDOW_SECONDS: Final = 300
OTHER_WEIGHT: Final = 2
WEIGHTS: Final[dict[str, int]] = {
    "ptrace": 10,
    "setuid": 8,
    "setgid": 8,
    "execve": 5,
    "mount": 4,
    "chmod": 3,
    "fork": 2,
    "open": 1,
    "read": 1,
    "write": 1,
}


def weight_of(call: str) -> int:
    """The weight of one system call, 1 to 10."""
    return WEIGHTS.get(call, OTHER_WEIGHT)


def score_hundredths(weight_sum: int, count: int) -> int:
    """The score in hundredths (0 to 10,000), rounded half up; 0 without events."""
    if count <= 0:
        return 0
    return min(10_000, (2_000 * weight_sum + count) // (2 * count))


class ScoreWindow:
    """The sliding window as run lengths: one (second, sum, count) per second that had events, newest last."""

    __slots__ = ("count", "runs", "total")

    def __init__(self, runs: Iterable[tuple[int, int, int]] = ()) -> None:
        self.runs = list(runs)
        self.total = sum(run[1] for run in self.runs)
        self.count = sum(run[2] for run in self.runs)

    def add(self, second: int, weight_sum: int, count: int) -> None:
        """Add `count` events worth `weight_sum` at whole `second`; an earlier second counts as the newest."""
        runs = self.runs
        if runs and second <= runs[-1][0]:
            last, old_sum, old_count = runs[-1]
            runs[-1] = (last, old_sum + weight_sum, old_count + count)
        else:
            runs.append((second, weight_sum, count))
            drop = 0
            while runs[drop][0] < second - WINDOW_SECONDS:
                self.total -= runs[drop][1]
                self.count -= runs[drop][2]
                drop += 1
            del runs[:drop]
        self.total += weight_sum
        self.count += count

    @property
    def hundredths(self) -> int:
        """`risk_score` in hundredths."""
        return score_hundredths(self.total, self.count)
