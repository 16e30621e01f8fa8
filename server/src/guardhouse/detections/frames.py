"""Messages between an API process and its engine processes: four bytes of length, then MessagePack."""

from typing import Final

import msgspec

from guardhouse.detections.verdict import Ask, Verdict

LENGTH_BYTES: Final = 4

asks_to_bytes = msgspec.msgpack.Encoder().encode
asks_from_bytes = msgspec.msgpack.Decoder(list[Ask]).decode
verdicts_to_bytes = msgspec.msgpack.Encoder().encode
verdicts_from_bytes = msgspec.msgpack.Decoder(list[Verdict]).decode


def framed(message: bytes) -> bytes:
    """Put a message's length before it."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
