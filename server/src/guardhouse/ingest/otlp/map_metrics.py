"""Data points of metrics as events, as they were reported.

What becomes of sums and histograms depends on the points before, and so belongs to the stream's state.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from guardhouse.anomalies.streams.stored_event import Point, StoredEvent
from guardhouse.ingest.otlp.choose_stream import source_of
from guardhouse.ingest.otlp.decode import Export
from guardhouse.ingest.otlp.records import Place, Records
from guardhouse.ingest.otlp.values import text_of

_NO_VALUE: Final = 1  # DataPointFlags: no recorded value
_MAX_NAME: Final = 256
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class NotFinite(ValueError):  # noqa: N818 - a verdict on one point
    """A data point has a value that is not finite."""


def map_metrics(export: Export, records: Records) -> None:
    """Take the data points of an export."""
    message = export.message
    if not isinstance(message, ExportMetricsServiceRequest):
        raise TypeError(type(message).__name__)
    for of_resource in message.resource_metrics:
        source = source_of(of_resource.resource)
        place: Place = (source.slug("metrics"), "metrics")
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                for point, read in _points(metric):
                    if point.flags & _NO_VALUE:
                        continue
                    try:
                        made = _point(metric, point, read)
                    except NotFinite:
                        records.refuse("not a finite number")
                        continue
                    records.add(place, StoredEvent(at=made.at_us, point=made, entity=source.entity))


def _points(metric: Metric) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each data point of a metric with what its kind says of it."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    shared: dict[str, Any] = {"kind": kind}
    if kind not in ("gauge", "summary"):
        shared["cumulative"] = data.aggregation_temporality == _CUMULATIVE
    if kind == "sum":
        shared["monotonic"] = data.is_monotonic
    for point in data.data_points:
        yield point, shared | _numbers(kind, point)


def _numbers(kind: str, point: Any) -> dict[str, Any]:
    if kind in ("gauge", "sum"):
        is_whole = point.WhichOneof("value") == "as_int"
        return {"value": float(point.as_int) if is_whole else point.as_double}
    if kind == "summary":
        return {
            "observations": point.count,
            "total": point.sum,
            "quantiles": [(one.quantile, one.value) for one in point.quantile_values],
        }
    return {"observations": point.count, "total": point.sum if point.HasField("sum") else None}


def _point(metric: Metric, point: Any, members: dict[str, Any]) -> Point:
    """Return a data point.

    Raises:
        NotFinite: one of its values is not.
    """
    numbers = [
        members.get("value"),
        members.get("total"),
        *(value for _, value in members.get("quantiles", ())),
    ]
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise NotFinite
    return Point(
        name=metric.name[:_MAX_NAME],
        at_us=point.time_unix_nano // 1000,
        start_us=point.start_time_unix_nano // 1000,
        unit=metric.unit[:_MAX_NAME],
        attributes=_sorted(point.attributes),
        **members,
    )


def _sorted(attributes: Iterable[Any]) -> list[tuple[str, str]]:
    return sorted((one.key[:_MAX_NAME], text_of(one.value)) for one in attributes)
