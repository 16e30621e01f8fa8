"""The records of a spool file: a 40-byte header, then the payload. A damaged record costs only itself.

Header, little-endian: "GH", version, kind (1 item, 2 sealed batch), lane (0 events, 1 metrics), class, flags (1: the
payload is encrypted), seq, 16 bytes of key, length, CRC-32 of the header before it and the payload.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guard_agent._pipeline.classes import EVENTS, LANE_OF, SENT_FIRST

VERSION: Final = 1
ITEM: Final = 1
SEALED: Final = 2
ENCRYPTED: Final = 1
MAX_PAYLOAD_BYTES: Final = 64 * 1024 * 1024
_MAGIC: Final = b"GH"
_START: Final = _MAGIC + bytes([VERSION])
_HEAD: Final = struct.Struct("<2sBBBBHQ16sII")
_CODE: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole, checked record."""

    record: int
    kind: str
    flags: int
    seq: int
    key: bytes
    payload: bytes


def pack_frame(record: int, kind: str, seq: int, key: bytes, payload: bytes, *, flags: int = 0) -> bytes:
    """Return a record as it stands in a file."""
    lane = 0 if LANE_OF[kind] == EVENTS else 1
    number = SENT_FIRST.index(kind)
    head = _HEAD.pack(_MAGIC, VERSION, record, lane, number, flags, seq, key, len(payload), 0)[:-4]
    return head + _CODE.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def read_frames(data: bytes) -> Iterator[Frame | None]:
    """Yield the records of a file in order, and None once for each stretch that is none; never raises."""
    at, damaged = 0, False
    while at < len(data):
        frame = _frame_at(data, at)
        if frame is not None:
            damaged = False
            at += _HEAD.size + len(frame.payload)
            yield frame
            continue
        if not damaged:
            damaged = True
            yield None
        following = data.find(_START, at + 1)
        at = len(data) if following < 0 else following


def _frame_at(data: bytes, at: int) -> Frame | None:
    if len(data) - at < _HEAD.size:
        return None
    magic, version, record, _, number, flags, seq, key, length, code = _HEAD.unpack_from(data, at)
    if magic != _MAGIC or version != VERSION or number >= len(SENT_FIRST) or length > MAX_PAYLOAD_BYTES:
        return None
    begin = at + _HEAD.size
    payload = data[begin : begin + length]
    if len(payload) < length or zlib.crc32(payload, zlib.crc32(data[at : begin - 4])) != code:
        return None
    return Frame(record, SENT_FIRST[number], flags, seq, key, payload)
