"""The series of one stream: what its values, metrics and number of events per minute give to tell."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np

from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.finding import Finding, Kind
from guardhouse.analysis.anomaly.line_model import fingerprint
from guardhouse.analysis.anomaly.metric_points import MetricReader
from guardhouse.analysis.anomaly.series import LATE, WARM_UP, Point
from guardhouse.analysis.anomaly.series_bank import MINUTE_US, EventRate, SeriesBank, severity_of
from guardhouse.analysis.anomaly.tail import surprise_of

RATE: Final = "events per minute"
RATE_LEVEL: Final = 750
"""Nobody asked for this series, so only what is at least of high severity is told of it."""
_SERIES: Final[Kind] = "series"
_MILLI: Final = 1000


class JudgedValue(NamedTuple):
    """The highest score of an event's values, in thousandths, its surprise, and what is to be told.

    `score` is `LATE` where no value was judged.
    """

    score: int
    surprise: int
    findings: list[Finding]


class SeriesChannel:
    """The part of a stream's engine for values and metrics."""

    def __init__(self) -> None:
        self.bank = SeriesBank()
        self.metrics = MetricReader()
        self.rate = EventRate()
        self.longest = 0
        """Points of the longest series."""

    @property
    def ready(self) -> bool:
        """Whether some series has its warm-up behind it."""
        return self.longest >= WARM_UP

    def observe(self, event: Event, level: float) -> JudgedValue:
        """Judge the values of one event; `level` is the score from which on a point is told."""
        score, surprise = LATE, 0
        findings: list[Finding] = []
        for name, value in self._values(event):
            point = self.bank.observe(name, event.time_us, value)
            if point is None or point.score == LATE:
                continue
            series = self.bank.get(name)
            self.longest = max(self.longest, series.points if series else 0)
            score = max(score, point.score)
            surprise = max(surprise, _surprise(point))
            findings += _told(event, name, value, point, round(_MILLI * level))
        return JudgedValue(score, surprise, findings)

    def count(self, events: Sequence[Event]) -> list[Finding]:
        """Count the events of a segment; give what is to be told of the minutes that ended by them."""
        if not events:
            return []
        times = np.fromiter((event.time_us for event in events), np.int64, len(events))
        minutes = np.maximum.accumulate(times // MINUTE_US)
        starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
        found: list[Finding] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(events)], strict=True):
            for minute in self.rate.observe(int(times[start]), stop - start):
                if minute.point.score >= RATE_LEVEL:
                    told = _finding(events[start], RATE, float(minute.events), minute.point)
                    found.append(told)
        return found

    def _values(self, event: Event) -> Iterator[tuple[str, float]]:
        if event.point is not None:
            for value in self.metrics.values(event.point):
                yield value.name, value.value
        elif event.value is not None:
            yield event.key or "value", event.value

    def to_state(self) -> dict[str, Any]:
        """The channel for `snapshot`."""
        return {
            "bank": self.bank.to_state(),
            "metrics": self.metrics.to_state(),
            "rate": self.rate.to_state(),
            "longest": self.longest,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The channel that `to_state` described."""
        made = cls()
        made.bank = SeriesBank.from_state(state["bank"])
        made.metrics = MetricReader.from_state(state["metrics"])
        made.rate = EventRate.from_state(state["rate"])
        made.longest = state["longest"]
        return made


def _surprise(point: Point) -> int:
    return surprise_of((1 + point.at_least) / (1 + point.among)) if point.score > 0 else 0


def _told(event: Event, name: str, value: float, point: Point, level: int) -> Iterator[Finding]:
    if point.silence_milli:
        yield Finding(
            kind=_SERIES,
            first_seq=event.seq,
            last_seq=event.seq,
            time_us=event.time_us,
            entity=event.entity,
            template=fingerprint(f"{name}|silence".encode()),
            surprise=0,
            severity=severity_of(point.silence_milli),
            score_milli=point.silence_milli,
            excess_milli=0,
            subject=name,
            details={"field": "silence"},
        )
    if point.score >= max(level, 1):
        yield _finding(event, name, value, point)


def _finding(event: Event, name: str, value: float, point: Point) -> Finding:
    details: dict[str, Any] = {"field": "value", "value": value}
    if point.why is not None:
        details |= {
            "expected": [point.why.lo, point.why.hi],
            "decided": point.why.decided,
            "parts": {part: round(getattr(point.why, part), 3) for part in point.why._fields[:5]},
        }
    return Finding(
        kind=_SERIES,
        first_seq=event.seq,
        last_seq=event.seq,
        time_us=event.time_us,
        entity=event.entity,
        template=fingerprint(name.encode()),
        surprise=_surprise(point),
        severity=severity_of(point.score),
        score_milli=point.score,
        excess_milli=0,
        subject=name,
        details=details,
    )
