"""Seals minutes 90 seconds after their end; what comes later makes a correction beside the values, never in them."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.events.streams import store
from guardhouse.events.streams.measure import measure
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import Tx

MINUTE: Final = timedelta(minutes=1)
SEALED_AFTER: Final = timedelta(seconds=90)
CORRECTED_AFTER: Final = timedelta(seconds=60)  # so that stragglers that come together make one correction
AT_ONCE: Final = 20
MAX_ROUTES: Final = 500


async def seal_minutes(tx: Tx, now: datetime) -> bool:
    """Measure the minutes that are ripe, so many at most; tells whether more may wait."""
    ripe = await store.list_ripe(tx, now - MINUTE - SEALED_AFTER, now - CORRECTED_AFTER, AT_ONCE)
    for minute in ripe:
        span, until = ids_within(minute.begins_at, minute.begins_at + MINUTE), minute.begins_at + MINUTE
        known = await store.list_routes(tx, minute.tenant_no, minute.project_no)
        events = await store.read_events(tx, minute, span, until)
        metrics = await store.read_metrics(tx, minute, span, until)
        by_route, new = measure(events, metrics, known, MAX_ROUTES - len(known))
        if new:
            await store.add_routes(tx, minute.tenant_no, minute.project_no, new)
        await store.keep_values(tx, minute, by_route, now)
    return len(ripe) >= AT_ONCE


def ids_within(since: datetime, until: datetime) -> tuple[UUID, UUID]:
    """Return the least id of items of a span of time, and the least beyond it: an id begins with its time."""
    return _least_id(since), _least_id(until)


def _least_id(instant: datetime) -> UUID:
    return UUID(int=microseconds(instant) // 1000 << 80)
