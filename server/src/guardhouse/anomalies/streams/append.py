"""Writes events at the end of a stream: gapless numbers under the stream's row lock, a keyed event once a day.

The numbers, the segments and the chain of their hashes move in the caller's transaction, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter

from guardhouse.anomalies.stream import Stream
from guardhouse.anomalies.streams import store
from guardhouse.anomalies.streams.segments import pack_segments
from guardhouse.anomalies.streams.stored_event import NewEvent
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem

KEYS_KEPT: Final = timedelta(hours=24)
MOST_BEHIND_EVENTS: Final = 5_000_000
MOST_BEHIND: Final = timedelta(seconds=300)
RETRY_SECONDS: Final = 30

EVENTS: Final = Counter("guardhouse_stream_events_total", "Events stored in streams.", ["stream_type"])
SEGMENT_BYTES: Final = Counter("guardhouse_segment_bytes_total", "Bytes of segments, as stored.")


class StreamPaused(Problem):
    """The stream takes no events until somebody resumes it; nothing was stored."""

    status, code, title = 409, "stream_paused", "Stream paused"
    remediation = "Resume it with PATCH /streams/{id} and state active, then send the events again."


class StreamDeleted(Problem):
    """The stream was deleted; its anomalies and evidence are still there."""

    status, code, title = 410, "stream_deleted", "Stream deleted"
    remediation = "Make a stream with POST /streams and send there."


class StreamBehind(Problem):
    """Judging is too far behind what was stored; what was accepted is not lost, nothing of this was stored."""

    status, code, title = 429, "stream_behind", "Stream behind"
    remediation = "Send it again after the seconds in Retry-After; add workers if it happens often."


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of events: their numbers, and the indexes of those stored before."""

    stream: Stream
    duplicates: frozenset[int]
    first_seq: int | None
    last_seq: int | None


async def append(
    tx: Tx, tenant: TenantKey, stream: Stream, events: Sequence[NewEvent], now: datetime
) -> Appended:
    """Store events behind the last one of a stream, in their order.

    Raises:
        StreamPaused, StreamDeleted, StreamBehind: it takes none now; nothing was stored.
        DayMissing: the day has no partition; the transaction is lost.
    """
    locked = await store.find_stream(tx, tenant.no, stream_id=stream.id, lock=True)
    if locked is None:
        raise StreamDeleted("The stream is gone.")
    check_open(locked, now)
    events, duplicates = await _leave_out_seen(tx, tenant, locked, events, now)
    if not events:
        return Appended(locked, duplicates, None, None)
    segments = pack_segments(events, locked.last_seq + 1, locked.last_sha256, now)
    await store.add_segments(tx, tenant.no, locked, segments)
    EVENTS.labels(locked.type).inc(len(events))
    SEGMENT_BYTES.inc(sum(len(one.payload) for one in segments))
    return Appended(locked, duplicates, segments[0].first_seq, segments[-1].last_seq)


def check_open(stream: Stream, now: datetime) -> None:
    """Make sure that a stream takes events.

    Raises:
        StreamPaused, StreamDeleted, StreamBehind: it does not.
    """
    if stream.deleted_at is not None:
        raise StreamDeleted("The stream was deleted.")
    if stream.paused_at is not None:
        raise StreamPaused(f"The stream {stream.slug} is paused.")
    waiting = stream.last_seq - stream.processed_seq
    late = stream.waiting_since is not None and now - stream.waiting_since > MOST_BEHIND
    if waiting > MOST_BEHIND_EVENTS or (waiting and late):
        raise StreamBehind(
            f"{waiting:,} events of the stream {stream.slug} wait to be judged.",
            headers={"Retry-After": str(RETRY_SECONDS)},
            retry_after_seconds=RETRY_SECONDS,
        )


async def _leave_out_seen(
    tx: Tx, tenant: TenantKey, stream: Stream, events: Sequence[NewEvent], now: datetime
) -> tuple[Sequence[NewEvent], frozenset[int]]:
    keys = {event.key for event in events if event.key is not None}
    if not keys:
        return events, frozenset()
    fresh = await store.take_keys(tx, tenant.no, stream.no, keys, now, now - KEYS_KEPT)
    kept, duplicates = [], []
    for event in events:
        if event.key is None:
            kept.append(event)
        elif event.key in fresh:
            fresh.discard(event.key)  # the same key twice in one batch: the first event stays
            kept.append(event)
        else:
            duplicates.append(event.index)
    return kept, frozenset(duplicates)
