"""Stores an export: mapped to events, its streams found or made, everything of it in one transaction and once."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guardhouse.anomalies.stream import Stream
from guardhouse.anomalies.streams.append import StreamDeleted, StreamPaused, append
from guardhouse.anomalies.streams.find_stream import find_or_make
from guardhouse.anomalies.streams.keep_days import make_days
from guardhouse.anomalies.streams.store import DayMissing
from guardhouse.anomalies.streams.stored_event import NewEvent, decode_event, encode_event
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Unavailable
from guardhouse.foundation.request import system_transaction, tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.ingest.otlp import store
from guardhouse.ingest.otlp.counters import REJECTED
from guardhouse.ingest.otlp.decode import Export, decode_export
from guardhouse.ingest.otlp.map_logs import map_logs
from guardhouse.ingest.otlp.map_metrics import map_metrics
from guardhouse.ingest.otlp.map_spans import map_spans
from guardhouse.ingest.otlp.records import Place, Records
from guardhouse.ingest.otlp.signal import Signal

RETRIED: Final = timedelta(minutes=10)
"""The same bytes within this span are a retry, not a second export."""
LARGE_BYTES: Final = 128 << 10
ATTEMPTS: Final = 3
_MAPS: Final[Mapping[str, Callable[[Export, Records], None]]] = {
    "logs": map_logs,
    "metrics": map_metrics,
    "traces": map_spans,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an export: how many records were refused, and why, in words."""

    refused: int
    why: str


async def accept_export(
    resources: Resources, tenant: TenantKey, signal: Signal, media_type: str, content: bytes
) -> Outcome:
    """Decode, map and store one export.

    Raises:
        MalformedBody: it cannot be read.
        StreamBehind, Unavailable: not now; nothing of it was stored.
    """
    now = resources.clock.now()
    if len(content) > LARGE_BYTES:
        records = await asyncio.to_thread(_map, signal, media_type, content, now)
    else:
        records = _map(signal, media_type, content, now)
    for _ in range(ATTEMPTS):
        try:
            await _store(resources, tenant, records, hashlib.sha256(content).digest(), now)
        except DayMissing:
            async with system_transaction(resources) as tx:
                await make_days(tx, now)
        else:
            break
    else:
        raise Unavailable("The export could not be stored just now.")
    why = "; ".join(f"{count} {reason}" for reason, count in sorted(records.refused.items()))
    refused = sum(records.refused.values())
    REJECTED.labels(signal.name).inc(refused)
    return Outcome(refused, why)


def _map(signal: Signal, media_type: str, content: bytes, now: datetime) -> Records:
    records = Records(now)
    _MAPS[signal.name](decode_export(signal, media_type, content), records)
    return records


async def _store(
    resources: Resources, tenant: TenantKey, records: Records, sha256: bytes, now: datetime
) -> None:
    async with tenant_transaction(resources, tenant) as tx:
        if records.by_place and not await store.take_receipt(tx, tenant.no, sha256, now, now - RETRIED):
            return
        streams = await find_or_make(tx, tenant, records.by_place.keys(), now)
        refused: Counter[str] = Counter()
        for stream, events in _in_order(streams, records.by_place):
            refused += await _append(tx, tenant, stream, events, now)
    records.refused += refused


async def _append(
    tx: Tx, tenant: TenantKey, stream: Stream, events: Collection[NewEvent], now: datetime
) -> Counter[str]:
    """Store the events of one stream; a stream that takes none does not keep the others from theirs."""
    try:
        await append(tx, tenant, stream, [*events], now)
    except StreamPaused:
        return Counter({f"for the paused stream {stream.slug}": len(events)})
    except StreamDeleted:
        return Counter({f"for the deleted stream {stream.slug}": len(events)})
    return Counter()


def _in_order(
    streams: Mapping[str, Stream], by_place: Mapping[Place, list[NewEvent]]
) -> list[tuple[Stream, list[NewEvent]]]:
    """Return what goes where, by stream number: whoever locks several does it in one order.

    What has no stream of its own, because the tenant has as many as it may, goes to the one of its type.
    """
    gathered: dict[int, tuple[Stream, list[NewEvent]]] = {}
    for (slug, kind), events in by_place.items():
        own = streams.get(slug)
        stream = own or streams[kind]
        kept = events if own else [_with_service(event, slug) for event in events]
        gathered.setdefault(stream.no, (stream, []))[1].extend(kept)
    return [gathered[number] for number in sorted(gathered)]


def _with_service(event: NewEvent, slug: str) -> NewEvent:
    """Return an event that says which stream it would have gone to, for one that has to share another."""
    stored = decode_event(event.line)
    stored.attributes = (stored.attributes or {}) | {"stream": slug}
    return NewEvent(event.index, event.at, encode_event(stored), event.key)
