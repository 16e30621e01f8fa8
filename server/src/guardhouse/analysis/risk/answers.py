"""What people answered about evidence of one group: *expected* silences it, a *false alarm* counts as a hit.

Invariants: an answer only ever takes weight away; the answers of one version never change. They hold from the
event on at which an agent took the version, whatever baseline a process is bound to, and without a baseline.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from guardhouse.analysis.risk.profile import habit_factor
from guardhouse.analysis.risk.tables import MICRO

LEAST_RUNS: Final = 10
"""Until so many runs are learned, a false alarm is weighed as a hit in one of so many runs."""


class Place(NamedTuple):
    """What an answer is about: evidence of one kind in one program; `exe` is empty when it was never told."""

    exe: str
    alphabet: str
    evidence_id: str
    detail: str


class Answers:
    """All standing answers of one group at one version; version 0 has none."""

    __slots__ = ("alarms", "expected", "version")

    def __init__(
        self, version: int = 0, expected: Iterable[Place] = (), alarms: Iterable[Place] = ()
    ) -> None:
        self.version = version
        self.expected = frozenset(expected)
        self.alarms: dict[Place, int] = {}  # place -> standing false alarms
        for place in alarms:
            self.alarms[place] = self.alarms.get(place, 0) + 1

    def __bool__(self) -> bool:
        """Whether there is any answer."""
        return bool(self.expected or self.alarms)

    def weigh(self, place: Place, hits: int, runs: int) -> tuple[int, str]:
        """(factor in millionths, why) for evidence that `hits` of `runs` learned runs had; why is empty at 1."""
        if place in self.expected:
            return 0, "answered as expected"
        factor = habit_factor(hits, runs)
        why = f"usual here: {hits} of {runs} runs" if factor < MICRO else ""
        alarms = self.alarms.get(place, 0)
        if alarms:
            least = max(runs, LEAST_RUNS)
            lower = habit_factor(hits + alarms, least)
            if lower < factor:
                times = "once" if alarms == 1 else f"{alarms} times"
                why = f"answered as a false alarm {times}: counts as {hits + alarms} of {least} runs"
                factor = lower
        return factor, why


NO_ANSWERS: Final = Answers()
