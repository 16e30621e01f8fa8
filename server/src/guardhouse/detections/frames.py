"""Messages between an API process and its engine processes: four bytes of length, then MessagePack."""

from collections.abc import Sequence
from typing import Final

import msgspec

from guardhouse.detections.call_task import CallsAsk, CheckedCalls
from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.verdict import Ask, Verdict

LENGTH_BYTES: Final = 4
Task = Ask | ScanAsk | CallsAsk
Outcome = Verdict | Scanned | CheckedCalls

tasks_to_bytes = msgspec.msgpack.Encoder().encode
tasks_from_bytes = msgspec.msgpack.Decoder(list[Task]).decode
outcomes_to_bytes = msgspec.msgpack.Encoder().encode
_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_outcome_of: Final[dict[type[Task], msgspec.msgpack.Decoder[Outcome]]] = {
    Ask: msgspec.msgpack.Decoder(Verdict),
    ScanAsk: msgspec.msgpack.Decoder(Scanned),
    CallsAsk: msgspec.msgpack.Decoder(CheckedCalls),
}


def outcomes_from_bytes(message: bytes, tasks: Sequence[Task]) -> list[Outcome]:
    """Read the answer to these tasks: one outcome for each, in their order."""
    return [_outcome_of[type(task)].decode(part) for task, part in zip(tasks, _parts(message), strict=True)]


def framed(message: bytes) -> bytes:
    """Put a message's length before it."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
