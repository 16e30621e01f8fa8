"""Metrics of OpenTelemetry as values of series: sums become rates, histograms a mean and a rate, summaries quantiles.

Source: OpenTelemetry metrics data model, "Resets and Gaps". A cumulative value is compared with the one before of the
same name, unit, kind and attributes; when it fell or its start changed it counts from zero. The conversion is causal,
so it belongs to a stream's state.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, NamedTuple, Self

from guardhouse.analysis.anomaly.packing import Packer, Unpacker
from guardhouse.analysis.anomaly.series_bank import MOST_SERIES

SECOND_US: Final = 1_000_000
GAUGE, SUM, HISTOGRAM, EXPONENTIAL_HISTOGRAM, SUMMARY = (
    "gauge",
    "sum",
    "histogram",
    "exponential_histogram",
    "summary",
)


class MetricPoint(NamedTuple):
    """One data point. Times are µs since the epoch, `start_us` is 0 when it was not told.

    `kind` is gauge, sum, histogram, exponential_histogram or summary. Gauges and sums have `value`, histograms
    `observations` and perhaps their `total`, summaries `quantiles` as (quantile, value). `attributes` may come in any
    order.
    """

    name: str
    kind: str
    at_us: int
    start_us: int = 0
    unit: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    cumulative: bool = True
    monotonic: bool = False
    value: float | None = None
    observations: int | None = None
    total: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()


class SeriesValue(NamedTuple):
    """One value of one series, by the series' name."""

    name: str
    at_us: int
    value: float


class _Last(NamedTuple):
    at_us: int
    start_us: int
    amount: float
    total: float


def series_name(point: MetricPoint, part: str = "") -> str:
    """The name of a point's series: metric, part, unit, kind, sorted attributes."""
    words = [point.name + (f".{part}" if part else ""), point.unit, point.kind]
    words += [f"{key}={value}" for key, value in sorted(point.attributes)]
    return "|".join(words)


class MetricReader:
    """Turns the points of one stream into values of series; remembers the last of each cumulative one."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self.most = most
        self.dropped_points = 0
        self._last: dict[str, _Last] = {}

    def values(self, point: MetricPoint) -> Iterator[SeriesValue]:
        """The values that a point gives: none for the first of a cumulative series, and none that is not finite."""
        for part, value in self._parts(point):
            if isfinite(value):
                yield SeriesValue(series_name(point, part), point.at_us, value)

    def _parts(self, point: MetricPoint) -> Iterator[tuple[str, float]]:
        if point.kind == SUMMARY:
            for quantile, value in point.quantiles:
                yield f"q{quantile:g}", value
        elif point.kind in (HISTOGRAM, EXPONENTIAL_HISTOGRAM):
            yield from self._of_histogram(point)
        elif point.value is not None:
            if point.kind == SUM and (point.monotonic or not point.cumulative):
                grown = self._grown(point, point.value, 0.0)
                if grown:
                    yield "rate", grown[0] / grown[2]
            else:
                yield "", point.value

    def _of_histogram(self, point: MetricPoint) -> Iterator[tuple[str, float]]:
        if point.observations is None:
            return
        total = point.total
        grown = self._grown(point, float(point.observations), 0.0 if total is None else total)
        if not grown:
            return
        count, added, seconds = grown
        yield "rate", count / seconds
        if total is not None and count > 0:
            yield "mean", added / count

    def _grown(self, point: MetricPoint, amount: float, total: float) -> tuple[float, float, float] | None:
        """What was added since the point before, and the seconds it took; None when that cannot be known."""
        name = series_name(point)
        last = self._last.get(name)
        if last is not None and point.at_us <= last.at_us:
            return None
        if last is None and len(self._last) >= self.most:
            self.dropped_points += 1
            return None
        self._last[name] = _Last(point.at_us, point.start_us, amount, total)
        since = point.start_us if 0 < point.start_us < point.at_us else 0
        if not point.cumulative:
            since = since or (last.at_us if last else 0)
        elif last is None:
            return None
        elif amount < last.amount or point.start_us != last.start_us:
            since = max(since, last.at_us)
        else:
            amount, total, since = amount - last.amount, total - last.total, last.at_us
        return (amount, total, (point.at_us - since) / SECOND_US) if since else None

    def to_state(self) -> dict[str, Any]:
        """Plain values and arrays for `snapshot`."""
        packer = Packer()
        for last in self._last.values():
            packer.ints(last.at_us, last.start_us)
            packer.floats(last.amount, last.total)
        return {
            "most": self.most,
            "dropped_points": self.dropped_points,
            "names": list(self._last),
            "last": packer.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The reader that `to_state` described."""
        reader, packed = cls(state["most"]), Unpacker.of(state["last"])
        reader.dropped_points = state["dropped_points"]
        for name in state["names"]:
            reader._last[name] = _Last(
                packed.one_int(), packed.one_int(), packed.one_float(), packed.one_float()
            )
        return reader
