"""One numeric series, judged point by point: how far outside of everything before it, and how new its course is.

Causal and constant time a point. A score is a whole number of thousandths in 0..1000; the same points give the same
scores on every machine. Points of equal time are taken; an older point than the last is late and changes nothing.
"""

from array import array
from bisect import bisect_left, insort
from collections import deque
from itertools import pairwise
from math import isfinite, isnan
from typing import Final, NamedTuple, Self

from guardhouse.analysis.anomaly.level_context import LevelContext
from guardhouse.analysis.anomaly.packing import Packer, Unpacker
from guardhouse.analysis.anomaly.recent_values import RecentValues
from guardhouse.analysis.anomaly.season import Season, seasons_of

WARM_UP: Final = 300
STEPS_KEPT: Final = 200
SCORES_KEPT: Final = 2000
PEAK_POINTS: Final = 100
LATE: Final = -1
SILENT_STEPS: Final = 5
_LARGEST: Final = 1e150
"""Larger values count as this, so that no square leaves the range of a double."""
_PEAK_MILLI: Final = 1020
_LONGER: Final = 1.5
"""A gap is told within 100 points of another one only when it is longer than that one by so much."""
_HALF: Final = 0.05
"""So far outside of the range, in ranges, is half way to 1."""
_LEAST_RANGE: Final = 1e-9


class Range:
    """The lowest and highest of all earlier values."""

    __slots__ = ("hi", "lo")

    def __init__(self, lo: float = float("inf"), hi: float = float("-inf")) -> None:
        self.lo, self.hi = lo, hi

    def excess(self, value: float, least: float) -> float:
        """How far outside the value is, in [0, 1); the range takes it in.

        NaN is inside; `least` is the smallest width that counts.
        """
        lo, hi = self.lo, self.hi
        if lo <= value <= hi:
            return 0.0
        if value < lo:
            self.lo = value
            outside = lo - value
        elif isnan(value):
            return 0.0
        else:
            outside = value - hi
        if value > hi:
            self.hi = value
        if lo > hi:
            return 0.0
        e = outside / max(hi - lo, least)
        return e / (e + _HALF)


class Why(NamedTuple):
    """What decided a score: parts in [0, 1], and the range that the value had kept to before."""

    value: float
    mean: float
    deviation: float
    season: float
    context: float
    lo: float
    hi: float

    @property
    def decided(self) -> str:
        """The part that weighs most: value, mean, deviation, season or context."""
        weighed = (self.value, 0.6 * self.mean, 0.5 * self.deviation, 0.4 * self.season, 0.6 * self.context)
        return self._fields[max(range(len(weighed)), key=weighed.__getitem__)]


class Point(NamedTuple):
    """The verdict on one point. `score` is in thousandths, `LATE` when the point was too old to be judged.

    `at_least` of `among` earlier scores were as high: p = (1 + at_least) / (1 + among). `silence_milli` is above 0
    when so long a gap came before the point: 1 - 5 steps / gap. `why` is None at score 0.
    """

    score: int
    at_least: int
    among: int
    silence_milli: int
    why: Why | None


_QUIET: Final = Point(0, 0, 0, 0, None)
_TOO_OLD: Final = Point(LATE, 0, 0, 0, None)


class Series:
    """The model of one series. Times are event-time µs, values are finite."""

    __slots__ = (
        "_context",
        "_first_us",
        "_gap_at",
        "_gap_us",
        "_last_us",
        "_last_value",
        "_peak",
        "_peak_at",
        "_ranges",
        "_recent",
        "_scores",
        "_seasons",
        "_sorted",
        "_start",
        "points",
        "silences",
        "step_us",
    )

    def __init__(self) -> None:
        self.points = 0
        self.step_us = 0  # median of the first 200 steps, 0 until they are known
        self.silences = 0
        self._first_us = self._last_us = 0
        self._last_value = 0.0
        self._recent = RecentValues()
        self._ranges = tuple(Range() for _ in range(5))  # value, mean, deviation, day, week
        self._seasons: tuple[Season | None, Season | None] = (None, None)
        self._context: LevelContext | None = None
        self._start: tuple[array[int], array[float]] | None = (array("q"), array("d"))
        self._scores: deque[tuple[int, int]] = deque()  # (point, score above 0) of the last 2,000 points
        self._sorted: list[int] = []
        self._peak = self._peak_at = 0
        self._gap_us = self._gap_at = 0

    def observe(self, at_us: int, value: float) -> Point:
        """Judge one point by those before it, and remember it.

        Raises:
            ValueError: the value is NaN or infinite.
        """
        if not -_LARGEST <= value <= _LARGEST:
            value = self._clamped(value)
        count = self.points
        if count and at_us < self._last_us:
            return _TOO_OLD
        silence = (
            self._silence(at_us)
            if self.step_us and at_us - self._last_us > SILENT_STEPS * self.step_us
            else 0
        )
        raw, why = self._judge(at_us, value, count)
        self.points = count + 1
        self._last_us = at_us
        self._last_value = value
        if self._start is not None:
            self._begin(at_us, value)
            return _QUIET if not silence else Point(0, 0, 0, silence, None)
        if not raw and not silence:
            return self._quiet_point(count)
        among = min(count - WARM_UP, SCORES_KEPT)
        at_least = self._remember(raw, count)
        return Point(self._gated(raw, count), at_least, among, silence, why)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _judge(self, at_us: int, value: float, count: int) -> tuple[int, Why | None]:
        """The score before the gate, and its parts when it is above 0."""
        values, means, deviations, _, _ = self._ranges
        lo, hi = values.lo, values.hi
        least = max(_LEAST_RANGE, _LEAST_RANGE * max(hi, -lo)) if count else _LEAST_RANGE
        r1 = values.excess(value, least)
        mean, deviation = self._recent.add(value)
        r2 = means.excess(mean, least)
        r3 = deviations.excess(deviation, least)
        if count < STEPS_KEPT:
            return 0, None
        r4 = self._season(at_us, value, least)
        if self._context is None:
            return 0, None
        c = self._context.novelty(value)
        if not (r1 or r2 or r3 or r4 or c):
            return 0, None
        d = max(1 - (1 - r1) * (1 - 0.6 * r2) * (1 - 0.5 * r3) * (1 - 0.4 * r4), 0.6 * c)
        return int(1000 * d), Why(r1, r2, r3, r4, c, lo, hi)

    def _season(self, at_us: int, value: float, least: float) -> float:
        """How unusual the change since a day ago is; with a week, the smaller of both."""
        day, week = self._seasons
        age = at_us - self._first_us
        _, _, _, of_day, of_week = self._ranges
        if day is None:
            found = of_day.excess(value - self._last_value, least)
        else:
            found = of_day.excess(day.difference(at_us, value), least)
            if age < 2 * day.period_us:
                found = 0.0
        if week is not None:
            weekly = of_week.excess(week.difference(at_us, value), least)
            if age >= 2 * week.period_us:
                found = min(found, weekly)
        return found

    def _begin(self, at_us: int, value: float) -> None:
        """Keep the first points; learn the step from 200 of them, the levels from 300."""
        if self._start is None:
            return
        times, values = self._start
        times.append(at_us)
        values.append(value)
        if self.points == 1:
            self._first_us = at_us
        if self.points == STEPS_KEPT:
            steps = sorted(after - before for before, after in pairwise(times))
            self.step_us = steps[len(steps) // 2]
            self._seasons = seasons_of(self.step_us)
            for season, differences in zip(self._seasons, self._ranges[3:], strict=True):
                if season is not None:
                    for when, what in zip(times, values, strict=True):
                        differences.excess(season.difference(when, what), _LEAST_RANGE)
        if self.points == WARM_UP:
            lo, hi = self._ranges[0].lo, self._ranges[0].hi
            self._context = LevelContext(lo, max(hi - lo, _LEAST_RANGE))
            for what in values:
                self._context.novelty(what)
            self._start = None

    def _silence(self, at_us: int) -> int:
        """Thousandths of 1 - 5 steps / gap for a gap worth telling, else 0."""
        gap = at_us - self._last_us
        near = self.points - self._gap_at <= PEAK_POINTS
        told = not (near and gap <= _LONGER * self._gap_us)
        if told or gap > self._gap_us:
            self._gap_us = gap
        self._gap_at = self.points
        self.silences += told
        return 1000 - 1000 * SILENT_STEPS * self.step_us // gap if told else 0

    def _quiet_point(self, count: int) -> Point:
        scores = self._scores
        if scores and scores[0][0] <= count - SCORES_KEPT:
            self._forget(count)
        return _QUIET

    def _remember(self, raw: int, count: int) -> int:
        """Note a score; how many of the last 2,000 before it were as high."""
        self._forget(count)
        at_least = len(self._sorted) - bisect_left(self._sorted, raw)
        if raw:
            insort(self._sorted, raw)
            self._scores.append((count, raw))
            return at_least
        return min(count - WARM_UP, SCORES_KEPT)

    def _forget(self, count: int) -> None:
        scores = self._scores
        while scores and scores[0][0] <= count - SCORES_KEPT:
            del self._sorted[bisect_left(self._sorted, scores.popleft()[1])]

    def _gated(self, raw: int, count: int) -> int:
        """The score if it stands out from the last peak told, else 0; a peak is forgotten after 100 points."""
        peak = self._peak if count - self._peak_at <= PEAK_POINTS else 0
        if 1000 * raw <= _PEAK_MILLI * peak:
            return 0
        self._peak, self._peak_at = raw, count
        return raw

    # -- state -----------------------------------------------------------------------------------------------------

    @property
    def silent_from_us(self) -> int:
        """The event time from which on the lack of a next point is a silence; 0 while the step is not known."""
        return self._last_us + SILENT_STEPS * self.step_us if self.step_us else 0

    def pack(self, into: Packer) -> None:
        """Write everything."""
        into.ints(self.points, self.step_us, self.silences, self._first_us, self._last_us)
        into.ints(self._peak, self._peak_at, self._gap_us, self._gap_at)
        into.floats(self._last_value, *(edge for one in self._ranges for edge in (one.lo, one.hi)))
        self._recent.pack(into)
        into.list_of_ints([number for score in self._scores for number in score])
        parts = (*self._seasons, self._context)
        into.ints(sum(1 << place for place, part in enumerate(parts) if part is not None))
        for part in parts:
            if part is not None:
                part.pack(into)
        if self._start is not None:
            into.list_of_ints(self._start[0])
            into.list_of_floats(self._start[1])

    @classmethod
    def unpack(cls, packed: Unpacker) -> Self:
        """Read what `pack` wrote."""
        made = cls()
        made.points, made.step_us, made.silences = packed.one_int(), packed.one_int(), packed.one_int()
        made._first_us, made._last_us = packed.one_int(), packed.one_int()
        made._peak, made._peak_at, made._gap_us, made._gap_at = (packed.one_int() for _ in range(4))
        made._last_value = packed.one_float()
        made._ranges = tuple(Range(packed.one_float(), packed.one_float()) for _ in made._ranges)
        made._recent = RecentValues.unpack(packed)
        flat = packed.list_of_ints()
        made._scores = deque(zip(flat[::2], flat[1::2], strict=True))
        made._sorted = sorted(flat[1::2])
        there = packed.one_int()
        made._seasons = (
            Season.unpack(packed) if there & 1 else None,
            Season.unpack(packed) if there & 2 else None,
        )
        made._context = LevelContext.unpack(packed) if there & 4 else None
        made._start = None
        if made.points < WARM_UP:
            made._start = array("q", packed.list_of_ints()), packed.list_of_floats()
        return made

    @staticmethod
    def _clamped(value: float) -> float:
        if not isfinite(value):
            raise ValueError("a value of a series is a finite number")
        return _LARGEST if value > 0 else -_LARGEST
