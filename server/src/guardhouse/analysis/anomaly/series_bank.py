"""All series of one stream by name, at most 5,000, and the series that every stream has: its events per minute."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from guardhouse.analysis.anomaly.packing import Packer, Unpacker
from guardhouse.analysis.anomaly.season import WEEK_US
from guardhouse.analysis.anomaly.series import WARM_UP, Point, Series

MOST_SERIES: Final = 5000
MINUTE_US: Final = 60_000_000
MOST_EMPTY_MINUTES: Final = 10_080
"""So many minutes without an event are counted as zeros, a week; the rest of a longer gap is left out."""
_SEVERITIES: Final = ((900, "critical"), (750, "high"), (500, "medium"))
_SILENT_GAPS: Final = 3


def severity_of(score_milli: int) -> str:
    """How severe a score of a series is: critical from 900 on, high from 750, medium from 500, else low."""
    return next((name for least, name in _SEVERITIES if score_milli >= least), "low")


class SeriesBank:
    """Models of a stream's series. A name that comes when the bank is full is counted and not judged."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self.most = most
        self.dropped_points = 0
        self._series: dict[str, Series] = {}

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._series)

    def observe(self, name: str, at_us: int, value: float) -> Point | None:
        """Judge a point of a series; None when the bank has no room for the series.

        Raises:
            ValueError: the value is NaN or infinite.
        """
        series = self._series.get(name)
        if series is None:
            if len(self._series) >= self.most:
                self.dropped_points += 1
                return None
            series = self._series[name] = Series()
        return series.observe(at_us, value)

    def get(self, name: str) -> Series | None:
        """The model of a series, None when there is none."""
        return self._series.get(name)

    def silent(self, now_us: int) -> list[str]:
        """The series whose next point is overdue by five steps at an event time."""
        return [name for name, one in self._series.items() if 0 < one.silent_from_us < now_us]

    def to_state(self) -> dict[str, Any]:
        """Plain values and arrays for `snapshot`."""
        packer = Packer()
        for series in self._series.values():
            series.pack(packer)
        return {
            "most": self.most,
            "dropped_points": self.dropped_points,
            "names": list(self._series),
            "series": packer.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The bank that `to_state` described."""
        bank = cls(state["most"])
        bank.dropped_points = state["dropped_points"]
        packed = Unpacker.of(state["series"])
        bank._series = {name: Series.unpack(packed) for name in state["names"]}
        return bank


class Minute(NamedTuple):
    """A minute that is over: its start in event time, how many events it had, and the verdict on that number."""

    start_us: int
    events: int
    point: Point


class EventRate:
    """Events per minute of a stream. An event older than the newest minute counts for the newest."""

    def __init__(self) -> None:
        self.series = Series()
        self._start_us = 0
        self._events = 0
        self._last_us = 0
        self._week = 0
        self._gap_us = [0, 0]  # the longest of the week before this one, and of this one

    def observe(self, at_us: int, events: int = 1) -> Iterator[Minute]:
        """Count events of one time; gives the minutes that end by that, empty ones too."""
        start = at_us - at_us % MINUTE_US
        if not self._start_us:
            self._start_us = start
            self._last_us = at_us
        self._note_gap(at_us)
        while start > self._start_us:
            yield Minute(
                self._start_us, self._events, self.series.observe(self._start_us, float(self._events))
            )
            self._events = 0
            late = (start - self._start_us) // MINUTE_US - MOST_EMPTY_MINUTES
            self._start_us += MINUTE_US * max(1, late)
        self._events += events

    @property
    def silent_from_us(self) -> int:
        """From when on the lack of events is a silence: three times the longest gap of this and the last week.

        Never under five minutes; 0 before 300 minutes are known.
        """
        if self.series.points < WARM_UP:
            return 0
        return self._last_us + max(5 * MINUTE_US, _SILENT_GAPS * max(self._gap_us))

    def _note_gap(self, at_us: int) -> None:
        if at_us <= self._last_us:
            return
        week = at_us // WEEK_US
        if week > self._week:
            self._gap_us = [self._gap_us[1] if week == self._week + 1 else 0, 0]
            self._week = week
        self._gap_us[1] = max(self._gap_us[1], at_us - self._last_us)
        self._last_us = at_us

    def to_state(self) -> dict[str, Any]:
        """Plain values and arrays for `snapshot`."""
        packer = Packer()
        self.series.pack(packer)
        packer.ints(self._start_us, self._events, self._last_us, self._week, *self._gap_us)
        return packer.to_state()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The rate that `to_state` described."""
        rate, packed = cls(), Unpacker.of(state)
        rate.series = Series.unpack(packed)
        rate._start_us, rate._events, rate._last_us, rate._week = (packed.one_int() for _ in range(4))
        rate._gap_us = [packed.one_int(), packed.one_int()]
        return rate
