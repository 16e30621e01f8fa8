"""Merges equal noise of one flush into one event that says how often and when, for a server that reads such events."""

from datetime import datetime
from typing import Any

from guard_agent.models import SecurityEvent


class NoiseMerger:
    """Holds one event per (type, component, pattern, handler) until the flush."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[SecurityEvent, int, datetime, datetime]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, event: SecurityEvent) -> bool:
        """Take an event; tells whether it was merged into one that is held already."""
        kind = _kind(event)
        held = self._kept.get(kind)
        if held is None:
            self._kept[kind] = (event, 1, event.timestamp, event.timestamp)
            return False
        first, count, earliest, latest = held
        if (event.timestamp.tzinfo is None) is not (earliest.tzinfo is None):
            self._kept[kind] = (first, count + 1, earliest, latest)
        else:
            self._kept[kind] = (
                first,
                count + 1,
                min(earliest, event.timestamp),
                max(latest, event.timestamp),
            )
        return True

    def take(self) -> list[SecurityEvent]:
        """Return what is held, each with `metadata.count`, `first` and `last` where it stands for more than one."""
        kept, self._kept = self._kept, {}
        return [
            event
            if count == 1
            else event.model_copy(
                update={
                    "metadata": {
                        **event.metadata,
                        "count": count,
                        "first": first.isoformat(),
                        "last": last.isoformat(),
                    }
                }
            )
            for event, count, first, last in kept.values()
        ]


def _kind(event: SecurityEvent) -> tuple[Any, ...]:
    parts = (event.metadata.get("component"), event.metadata.get("pattern"))
    return (event.event_type, *(str(part)[:256] for part in parts), event.pattern_matched, event.handler_name)
