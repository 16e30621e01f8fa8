"""The values of one minute of a project, for the whole of it and for its busiest routes; pure."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from guardhouse.analysis.abuse.route_template import route_of

PROJECT: Final = ""
OTHER: Final = "other"
BUSIEST: Final = 50
BLOCKED: Final = ("block", "ban")


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """What a minute takes from one event, or from ``count`` events that were rolled up."""

    event_class: str
    ip: str | None = None
    endpoint: str | None = None
    action_taken: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class SeenMetric:
    """What a minute takes from one metric; ``weight``: how many requests its value is the mean of."""

    metric_type: str
    value: float
    endpoint: str | None
    weight: int = 1


@dataclass(slots=True)
class _Line:
    """The sums of one route, or of the project."""

    events: Counter[str] = field(default_factory=Counter)
    addresses: set[str] = field(default_factory=set)
    blocked: int = 0
    requests: float = 0.0
    errors: float = 0.0
    times: list[tuple[float, int]] = field(default_factory=list)

    @property
    def busy(self) -> float:
        """How much went on: requests, and events where no requests are reported."""
        return self.requests + self.events.total()

    def add(self, other: "_Line") -> None:
        """Add what another line holds."""
        self.events.update(other.events)
        self.addresses |= other.addresses
        self.blocked += other.blocked
        self.requests += other.requests
        self.errors += other.errors
        self.times += other.times


def measure(
    events: Iterable[SeenEvent], metrics: Iterable[SeenMetric], known: Collection[str], room: int
) -> tuple[dict[str, dict[str, float | None]], set[str]]:
    """Return values by route (``""`` is the project), and the routes that are new.

    At most 50 routes have lines of their own, the busiest; of routes that are not ``known`` at most ``room`` may be
    new. The rest is ``other``.
    """
    lines: dict[str, _Line] = {}
    for event in events:
        line = lines.setdefault(_route(event.endpoint), _Line())
        line.events[event.event_class] += event.count
        if event.ip is not None:
            line.addresses.add(event.ip)
        if any(word in (event.action_taken or "") for word in BLOCKED):
            line.blocked += event.count
    for metric in metrics:
        _add_metric(lines.setdefault(_route(metric.endpoint), _Line()), metric)
    whole = _Line()
    for line in lines.values():
        whole.add(line)
    kept, new = _busiest(lines, known, room)
    rest = _Line()
    for route, line in lines.items():
        if route not in kept:
            rest.add(line)
    found = {PROJECT: values_of(whole)} | {route: values_of(lines[route]) for route in sorted(kept)}
    return found | ({OTHER: values_of(rest)} if rest.busy else {}), new


def values_of(line: _Line) -> dict[str, float | None]:
    """Return the values of a line by stream; a ratio of no requests, and a percentile of no times, is None."""
    by_class = {
        f"events.{name}": float(line.events[name])
        for name in ("attack", "policy", "config", "noise", "other")
    }
    return {
        **by_class,
        "distinct_ips": float(len(line.addresses)),
        "request_count": line.requests,
        "error_ratio": line.errors / line.requests if line.requests else None,
        "blocked_ratio": line.blocked / line.requests if line.requests else None,
        "response_time.p50": percentile(line.times, 0.5),
        "response_time.p95": percentile(line.times, 0.95),
    }


def percentile(times: Sequence[tuple[float, int]], share: float) -> float | None:
    """Return the smallest value that at least a share of the weight does not exceed (nearest rank)."""
    ordered = sorted(times)
    need = math.ceil(share * sum(weight for _, weight in ordered))
    reached = 0
    for value, weight in ordered:
        reached += weight
        if reached >= need:
            return value
    return None


def _add_metric(line: _Line, metric: SeenMetric) -> None:
    if metric.metric_type == "request_count":
        line.requests += metric.value
    elif metric.metric_type == "error_rate":
        line.errors += metric.value
    elif metric.metric_type == "response_time" and metric.weight > 0:
        line.times.append((metric.value, metric.weight))


def _route(endpoint: str | None) -> str:
    return (route_of(endpoint) or OTHER) if endpoint else OTHER


def _busiest(lines: dict[str, _Line], known: Collection[str], room: int) -> tuple[set[str], set[str]]:
    kept: set[str] = set()
    new: set[str] = set()
    for route in sorted(lines, key=lambda route: (-lines[route].busy, route)):
        if route == OTHER or len(kept) == BUSIEST:
            continue
        if route in known:
            kept.add(route)
        elif len(new) < room:
            kept.add(route)
            new.add(route)
    return kept, new
