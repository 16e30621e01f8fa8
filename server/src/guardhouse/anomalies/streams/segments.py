"""Segments: events cut into immutable batches, packed, and chained by their hashes."""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import zstandard

from guardhouse.anomalies.streams.store import Segment
from guardhouse.anomalies.streams.stored_event import NewEvent, StoredEvent, decode_event
from guardhouse.foundation.clock import from_microseconds

MAX_EVENTS: Final = 1000
MAX_BYTES: Final = 1 << 20
_LEVEL: Final = 3


class SegmentDamaged(ValueError):  # noqa: N818 - named like the problems are
    """The payload of a segment is not what was stored."""


def pack_segments(
    events: Sequence[NewEvent], first_seq: int, previous: bytes, received_at: datetime
) -> list[Segment]:
    """Return the segments of events whose numbers begin at ``first_seq``, at most 1,000 events and 1 MiB each."""
    packed = []
    context = zstandard.ZstdCompressor(level=_LEVEL)
    for batch in _batches(events):
        plain = b"\n".join([event.line for event in batch])
        payload = context.compress(plain)
        times = [event.at for event in batch]
        sha256 = hashlib.sha256(payload).digest()
        packed.append(
            Segment(
                first_seq=first_seq,
                last_seq=first_seq + len(batch) - 1,
                received_at=received_at,
                first_at=from_microseconds(min(times)),
                last_at=from_microseconds(max(times)),
                size_bytes=len(plain),
                payload=payload,
                sha256=sha256,
                previous_sha256=previous,
            )
        )
        first_seq += len(batch)
        previous = sha256
    return packed


def read_segment(payload: bytes, sha256: bytes) -> list[StoredEvent]:
    """Return the events of a segment in their order.

    Raises:
        SegmentDamaged: the payload is not the one of this hash.
    """
    if not hmac.compare_digest(hashlib.sha256(payload).digest(), sha256):
        raise SegmentDamaged("the payload of a segment has another hash than was stored with it")
    plain = zstandard.ZstdDecompressor().decompress(payload, max_output_size=2 * MAX_BYTES)
    return [decode_event(line) for line in plain.split(b"\n")]


def _batches(events: Sequence[NewEvent]) -> Iterator[list[NewEvent]]:
    batch: list[NewEvent] = []
    size = 0
    for event in events:
        length = len(event.line) + 1
        if batch and (len(batch) == MAX_EVENTS or size + length > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch
