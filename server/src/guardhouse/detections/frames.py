"""Messages between an API process and its engine processes: four bytes of length, then MessagePack."""

from collections.abc import Sequence
from typing import Final

import msgspec

from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.verdict import Ask, Verdict

LENGTH_BYTES: Final = 4
Task = Ask | ScanAsk
Outcome = Verdict | Scanned

tasks_to_bytes = msgspec.msgpack.Encoder().encode
tasks_from_bytes = msgspec.msgpack.Decoder(list[Task]).decode
outcomes_to_bytes = msgspec.msgpack.Encoder().encode
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_verdict = msgspec.msgpack.Decoder(Verdict).decode
_scanned = msgspec.msgpack.Decoder(Scanned).decode


def outcomes_from_bytes(message: bytes, tasks: Sequence[Task]) -> list[Outcome]:
    """Read the answer to these tasks: one outcome for each, in their order."""
    return [
        _verdict(part) if isinstance(task, Ask) else _scanned(part)
        for task, part in zip(tasks, _parts(message), strict=True)
    ]


def framed(message: bytes) -> bytes:
    """Put a message's length before it."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
