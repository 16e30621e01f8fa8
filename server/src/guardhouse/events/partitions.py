"""Day partitions of telemetry: from the oldest day that may be written to a week ahead; older than retention goes.

There is no default partition: an event whose day is missing is refused rather than misplaced.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from guardhouse.events import store
from guardhouse.foundation.database import Tx

HOST_DAYS_BACK: Final = 8  # an event of a host, and a score of its process, is at most 7 days old
DAYS_BACK: Final = {
    "process_events": HOST_DAYS_BACK,
    "events": 31,
    "metrics": 31,
    "event_rollups": 31,
    "ip_buckets": 9,
}
DAYS_AHEAD: Final = 7
PARENTS: Final = tuple(DAYS_BACK)


def wanted_days(parent: str, today: date) -> list[date]:
    """Return the days of a table that must have partitions."""
    return [
        today + timedelta(days=offset)
        for offset in range(-DAYS_BACK.get(parent, HOST_DAYS_BACK), DAYS_AHEAD + 1)
    ]


async def ensure_days(tx: Tx, today: date, parents: Sequence[str] = PARENTS) -> int:
    """Make every partition that is missing; returns how many were made."""
    made = 0
    for parent in parents:
        present = set(await store.list_days(tx, parent))
        for day in wanted_days(parent, today):
            if day not in present:
                made += await store.create_day(tx, parent, day)
    return made


async def present_days(tx: Tx, parent: str) -> list[date]:
    """Return the days of a table that have partitions, oldest first."""
    return await store.list_days(tx, parent)


async def expired_days(tx: Tx, parent: str, today: date, retention_days: int) -> list[date]:
    """Return the days beyond retention that still have a partition."""
    edge = today - timedelta(days=max(retention_days, DAYS_BACK.get(parent, HOST_DAYS_BACK)))
    return [day for day in await store.list_days(tx, parent) if day < edge]


async def drop_day(tx: Tx, parent: str, day: date) -> None:
    """Drop one day of telemetry."""
    await store.drop_day(tx, parent, day)
