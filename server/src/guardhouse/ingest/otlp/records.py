"""The records of one export on their way into streams: what each stream gets, and what is refused."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from guardhouse.anomalies.stream import StreamType
from guardhouse.anomalies.streams.stored_event import (
    MAX_EVENT_BYTES,
    NewEvent,
    StoredEvent,
    encode_event,
)
from guardhouse.foundation.clock import microseconds

AHEAD: Final = timedelta(hours=24)
Place: TypeAlias = tuple[str, StreamType]
"""Slug and type of a stream."""


@dataclass(slots=True)
class Records:
    """Collects the events of an export. ``refused`` counts reasons, in words."""

    now: datetime
    by_place: defaultdict[Place, list[NewEvent]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    latest_us: int = field(init=False)
    now_us: int = field(init=False)
    _index: int = 0

    def __post_init__(self) -> None:
        self.now_us = microseconds(self.now)
        self.latest_us = microseconds(self.now + AHEAD)

    def add(self, place: Place, event: StoredEvent) -> None:
        """Take one event for a stream; its time is 0 when it was not told."""
        if event.at <= 0:
            event.at = self.now_us
        elif event.at > self.latest_us:
            event.at, event.skewed = self.now_us, True
        line = encode_event(event)
        if len(line) > MAX_EVENT_BYTES:
            self.refuse(f"larger than {MAX_EVENT_BYTES:,} bytes")
            return
        self.by_place[place].append(NewEvent(self._index, event.at, line))
        self._index += 1

    def refuse(self, why: str) -> None:
        """Count one record that is not taken."""
        self.refused[why] += 1
