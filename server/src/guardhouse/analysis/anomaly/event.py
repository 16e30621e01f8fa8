"""What the engine is given: events of one stream in order, cut into segments, with what people decided in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.metric_points import MetricPoint


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Exactly one of ``text``, ``body``, ``value``, ``symbols``, ``point`` is given.

    ``seq`` counts from 1 in the stream, ``time_us`` is the event's own time in microseconds (UTC). ``key`` names the
    series of a value or the session of symbols, texts and records; ``end`` closes that session. Steps of a session with
    ``order_us`` (the start of a span) are put in that order when it closes. A point of a metric names its own series.
    """

    seq: int
    time_us: int
    text: str | None = None
    body: Mapping[str, Any] | None = None
    value: float | None = None
    symbols: Sequence[int] | None = None
    entity: str = ""
    key: str = ""
    end: bool = False
    point: MetricPoint | None = None
    order_us: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person decided; it takes effect before the first event of the segment that carries it.

    ``false_positive`` allows a template (with ``entity``: for that entity alone), ``confirmed`` pins it as bad,
    ``unpin`` takes either back, ``accept`` ends a hold after a change of regime, ``accept_outlier`` learns a template
    that the warm-up set aside, ``anchor`` makes the rolling model the new anchor.
    ``template`` is the number that findings carry; ``line`` its masked text; ``seqs`` the events it was said of.
    """

    verdict: Literal["false_positive", "confirmed", "unpin", "accept", "accept_outlier", "anchor"]
    template: int = 0
    line: bytes = b""
    entity: str = ""
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """An immutable batch of consecutive events; ``config`` is the configuration from this segment on, if it changed."""

    events: Sequence[Event]
    judgements: tuple[Judgement, ...] = ()
    config: Config | None = None
