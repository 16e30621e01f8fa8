"""The id of a telemetry event: a UUIDv7 that any copy of the same event gets again.

Its 48-bit time is the event's own time in milliseconds; its other 74 bits are the first 74 of
SHA-256(tenant NUL owner NUL source key). The primary key then makes a second copy impossible, whatever
batch or process brings it. Vectors: ``contract/vectors/event_id.json``.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Final

_VERSION: Final = 0x7 << 12
_VARIANT: Final = 0b10 << 62
_MAX_MS: Final = (1 << 48) - 1
_first_80_bits = struct.Struct(">HQ").unpack_from
_join = struct.Struct(">QQ").pack


def identifier(tenant: str, owner: str) -> Callable[[int, str], bytes]:
    """Return a function ``(milliseconds, source key) -> 16 bytes`` for the events of one agent or project."""
    copy = hashlib.sha256(f"{tenant}\0{owner}\0".encode("utf-8", "surrogatepass")).copy

    def event_id(milliseconds: int, source_key: str) -> bytes:
        state = copy()
        state.update(source_key.encode("utf-8", "surrogatepass"))
        head, tail = _first_80_bits(state.digest())
        time = milliseconds if 0 <= milliseconds <= _MAX_MS else min(max(milliseconds, 0), _MAX_MS)
        return _join(time << 16 | _VERSION | head >> 4, _VARIANT | (head & 15) << 58 | tail >> 6)

    return event_id


def milliseconds_of(event_id: bytes) -> int:
    """Return the time inside an event id."""
    return int.from_bytes(event_id[:6])
