"""What a series was worth one day, or one week, earlier: a ring of slots by time of the period.

Slots follow event time and not the count of points, so that a gap does not shift the phase. With regular points, and
no more of them in a period than slots, a slot holds exactly the point one period ago.
"""

from array import array
from typing import Final, Self

from guardhouse.analysis.anomaly.packing import Packer, Unpacker

DAY_US: Final = 86_400_000_000
WEEK_US: Final = 7 * DAY_US
MOST_DAY_SLOTS: Final = 1440
LEAST_DAY_SLOTS: Final = 4
LEAST_WEEK_STEP_US: Final = 300_000_000
_EMPTY: Final = float("nan")


class Season:
    """The last value of each slot of one period. Times are event-time µs."""

    __slots__ = ("_ring", "_slots", "period_us")

    def __init__(self, period_us: int, slots: int) -> None:
        self.period_us = period_us
        self._slots = slots
        self._ring = array("d", [_EMPTY]) * slots

    def difference(self, at_us: int, value: float) -> float:
        """The value minus the one a period earlier, NaN when there is none; the value takes its place."""
        slot = at_us % self.period_us * self._slots // self.period_us
        before = self._ring[slot]
        self._ring[slot] = value
        return value - before

    def pack(self, into: Packer) -> None:
        """Write the ring."""
        into.ints(self.period_us)
        into.list_of_floats(self._ring)

    @classmethod
    def unpack(cls, packed: Unpacker) -> Self:
        """Read what `pack` wrote."""
        season = cls(packed.one_int(), 1)
        season._ring = packed.list_of_floats()
        season._slots = len(season._ring)
        return season


def seasons_of(step_us: int) -> tuple[Season | None, Season | None]:
    """The day and the week for points `step_us` apart, each None where it does not apply.

    Fewer than four points a day have no day; a week needs steps of five minutes or more, so that its ring stays short.
    """
    if step_us <= 0:
        return None, None
    per_day = min(MOST_DAY_SLOTS, (DAY_US + step_us // 2) // step_us)
    per_week = (WEEK_US + step_us // 2) // step_us
    day = Season(DAY_US, per_day) if per_day >= LEAST_DAY_SLOTS else None
    week = Season(WEEK_US, per_week) if step_us >= LEAST_WEEK_STEP_US and per_week > 1 else None
    return day, week
