"""One append-only file of the spool: a magic, then records of length, CRC-32 and payload, numbered by `seq`.

Invariant: every byte before the end that `scan` reports belongs to a whole, checked record; what follows is
a torn tail and is cut before the file is written again.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAGIC: Final = b"GHSPOOL1"
_HEAD: Final = struct.Struct("<IIQ")  # payload length, CRC-32 of seq and payload, seq
MAX_PAYLOAD_BYTES: Final = 1_048_576
_READ_BYTES: Final = 262_144


@dataclass(slots=True)
class Segment:
    """What is known of one file: sizes in bytes, the first and last `seq` in it (0 while it is empty)."""

    path: Path
    plain: bool
    size: int
    count: int = 0
    first: int = 0
    last: int = 0


def pack_record(seq: int, payload: bytes) -> bytes:
    """Return the record of one event as it stands in the file."""
    code = zlib.crc32(payload, zlib.crc32(seq.to_bytes(8, "little")))
    return _HEAD.pack(len(payload), code, seq) + payload


def read_records(path: Path, offset: int = len(MAGIC)) -> Iterator[tuple[int, bytes, int]]:
    """Yield (seq, payload, offset behind the record) up to the first record that is torn or damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=_READ_BYTES) as file:
        file.seek(offset)
        while True:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            length, code, seq = _HEAD.unpack(head)
            if length > MAX_PAYLOAD_BYTES:
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload, zlib.crc32(seq.to_bytes(8, "little"))) != code:
                return
            offset += _HEAD.size + length
            yield seq, payload, offset


def scan(path: Path, *, plain: bool) -> Segment:
    """Read a segment from the start, cut its torn tail off, and return what it holds.

    Raises:
        OSError: the file cannot be read or cut.
    """
    segment = Segment(path, plain, len(MAGIC))
    with path.open("rb") as file:
        whole = file.read(len(MAGIC)) == MAGIC
    if whole:
        for seq, _, offset in read_records(path):
            segment.first = segment.first or seq
            segment.last = seq
            segment.count += 1
            segment.size = offset
        if path.stat().st_size > segment.size:
            os.truncate(path, segment.size)
    else:
        path.write_bytes(MAGIC)
    return segment
