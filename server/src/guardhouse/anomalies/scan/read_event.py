"""Stored events as the engine takes them, and a configuration in its words."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from guardhouse.analysis.anomaly.config import Config as EngineConfig
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.metric_points import MetricPoint
from guardhouse.anomalies.configs.config import Judging
from guardhouse.anomalies.streams.stored_event import Point, StoredEvent

_KNOWN: Final = frozenset(EngineConfig.__slots__)


def engine_events(stored: Sequence[StoredEvent], first_seq: int) -> list[Event]:
    """Return events of consecutive numbers for the engine."""
    return [_event(one, seq) for seq, one in enumerate(stored, first_seq)]


def engine_config(judging: Judging) -> EngineConfig:
    """Return what a stream is judged by, as far as the engine has to know it."""
    return EngineConfig(**{name: value for name, value in asdict(judging).items() if name in _KNOWN})


def _event(stored: StoredEvent, seq: int) -> Event:
    key, body, order_us = stored.session or "", stored.body, 0
    if stored.step is not None:
        step = stored.step
        key, order_us = step.session, step.start
        body = {
            "service": step.service,
            "name": step.name,
            "kind": step.kind,
            "status": step.status,
            "duration": step.duration,
        }
    return Event(
        seq=seq,
        time_us=stored.at,
        text=stored.text,
        body=body,
        value=stored.value,
        symbols=stored.symbols,
        entity=stored.entity or "",
        key=key,
        end=stored.end,
        point=None if stored.point is None else _point(stored.point),
        order_us=order_us,
    )


def _point(stored: Point) -> MetricPoint:
    return MetricPoint(
        name=stored.name,
        kind=stored.kind,
        at_us=stored.at_us,
        start_us=stored.start_us,
        unit=stored.unit,
        attributes=tuple(stored.attributes),
        cumulative=stored.cumulative,
        monotonic=stored.monotonic,
        value=stored.value,
        observations=stored.observations,
        total=stored.total,
        quantiles=tuple(stored.quantiles),
    )
