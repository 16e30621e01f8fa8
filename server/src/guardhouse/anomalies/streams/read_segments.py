"""Reads segments of a stream in order, for who judges or explains them."""

from guardhouse.anomalies.streams import store
from guardhouse.anomalies.streams.segments import read_segment
from guardhouse.anomalies.streams.store import Segment
from guardhouse.anomalies.streams.stored_event import StoredEvent
from guardhouse.foundation.database import TenantKey, Tx


async def read_segments(
    tx: Tx, tenant: TenantKey, stream_no: int, span: tuple[int, int], limit: int
) -> list[Segment]:
    """Return segments that hold numbers behind ``span[0]`` and up to ``span[1]``, at most ``limit``, in order."""
    return await store.read_segments(tx, tenant.no, stream_no, *span, limit)


def read_events(segments: list[Segment], span: tuple[int, int]) -> list[tuple[int, StoredEvent]]:
    """Return the events behind ``span[0]`` and up to ``span[1]``, each with its number."""
    found = []
    for segment in segments:
        events = read_segment(segment.payload, segment.sha256)
        found += [(seq, one) for seq, one in enumerate(events, segment.first_seq) if span[0] < seq <= span[1]]
    return found
