"""Merges metrics of ten seconds into one per kind, route, method and class of status, where the server reads such ones.

A cell keeps count, sum, min, max and 16 buckets of doubling width; at most 200 routes have cells of their own.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from guard_agent.models import SecurityMetric

SECONDS: Final = 10
BUCKETS: Final = 16
ROUTES: Final = 200
OTHER: Final = "other"
_SMALLEST: Final = 0.001
_TAGS: Final = frozenset(("endpoint", "method", "status"))


@dataclass(slots=True)
class _Cell:
    metric: SecurityMetric
    tags: dict[str, str]
    endpoint: str | None
    second: int
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)


class MetricMerger:
    """Holds the cells that are not flushed yet."""

    def __init__(self) -> None:
        self._cells: dict[tuple[Any, ...], _Cell] = {}
        self._routes: set[str] = set()

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, metric: SecurityMetric) -> bool | None:
        """Take a metric; tells whether it was merged into a cell that is held already. None: it cannot be merged."""
        tags = metric.tags
        if not math.isfinite(metric.value) or not tags.keys() <= _TAGS:
            return None
        route = self._route(metric.endpoint or tags.get("endpoint"))
        method, status = tags.get("method"), tags.get("status", "")[:1]
        second = int(metric.timestamp.timestamp()) // SECONDS * SECONDS
        name = (metric.metric_type, route, method, status, second)
        cell = self._cells.get(name)
        merged = cell is not None
        if cell is None:
            kept = {"endpoint": route, "method": method, "status": f"{status}xx" if status else None}
            known = {key: value for key, value in kept.items() if value is not None}
            cell = self._cells[name] = _Cell(metric, known, route, second)
        cell.count += 1
        cell.total += metric.value
        cell.low, cell.high = min(cell.low, metric.value), max(cell.high, metric.value)
        cell.buckets[bucket_of(metric.value)] += 1
        return merged

    def take(self) -> list[dict[str, Any]]:
        """Return one metric per cell, as it goes over the wire; `value` is the sum of counts, else the mean."""
        cells, self._cells, self._routes = self._cells, {}, set()
        return [_told(cell) for cell in cells.values()]

    def _route(self, route: str | None) -> str | None:
        if route is None or route in self._routes:
            return route
        if len(self._routes) >= ROUTES:
            return OTHER
        self._routes.add(route)
        return route


def bucket_of(value: float) -> int:
    """Return the bucket of a value: 0 up to 0.001, then one for each doubling, the last one for all above."""
    if value <= _SMALLEST:
        return 0
    return min(BUCKETS - 1, math.ceil(math.log2(value / _SMALLEST)))


def _told(cell: _Cell) -> dict[str, Any]:
    counts = cell.metric.metric_type in ("request_count", "bandwidth_usage")
    return {
        "idempotency_key": str(cell.metric.idempotency_key),
        "timestamp": datetime.fromtimestamp(cell.second, UTC).isoformat(),
        "metric_type": cell.metric.metric_type,
        "value": cell.total if counts else cell.total / cell.count,
        "endpoint": cell.endpoint,
        "tags": cell.tags,
        "count": cell.count,
        "sum": cell.total,
        "min": cell.low,
        "max": cell.high,
        "buckets": {str(number): count for number, count in enumerate(cell.buckets) if count},
    }
