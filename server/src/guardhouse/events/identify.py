"""The id of a telemetry event: a UUIDv7 that any copy of the same event gets again.

Its 48-bit time is the event's own time in milliseconds; its other 74 bits are the first 74 of
SHA-256(tenant NUL owner NUL source key). The primary key then makes a second copy impossible, whatever
batch or process brings it. Vectors: ``contract/vectors/event_id.json``.
"""

import hashlib
from collections.abc import Callable
from typing import Final

_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_LOW_62: Final = (1 << 62) - 1
_MAX_MS: Final = (1 << 48) - 1


def identifier(tenant: str, owner: str) -> Callable[[int, str], bytes]:
    """Return a function ``(milliseconds, source key) -> 16 bytes`` for the events of one agent or project."""
    prefix = hashlib.sha256(f"{tenant}\0{owner}\0".encode("utf-8", "surrogatepass"))

    def event_id(milliseconds: int, source_key: str) -> bytes:
        state = prefix.copy()
        state.update(source_key.encode("utf-8", "surrogatepass"))
        bits = int.from_bytes(state.digest()[:10]) >> 6
        time = min(max(milliseconds, 0), _MAX_MS) << 80
        return (time | _VERSION | (bits >> 62) << 64 | _VARIANT | bits & _LOW_62).to_bytes(16)

    return event_id


def milliseconds_of(event_id: bytes) -> int:
    """Return the time inside an event id."""
    return int.from_bytes(event_id[:6])
