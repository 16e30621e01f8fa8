"""Messages between an API process and its engine processes: four bytes of length, then MessagePack."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from guardhouse.detections.call_task import CallsAsk, CheckedCalls
from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.verdict import Ask, Frame, Task, Verdict

T = TypeVar("T")
LENGTH_BYTES: Final = 4
Outcome = Verdict | Scanned | CheckedCalls

MOST_ADDITIONS: Final = 128  # that a process keeps; both sides drop the same ones, the longest unused

frame_to_bytes = msgspec.msgpack.Encoder().encode
frame_from_bytes = msgspec.msgpack.Decoder(Frame).decode
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


def used(kept: OrderedDict[str, T], digests: Iterable[str]) -> None:
    """Note the use of additions and drop the longest unused beyond ``MOST_ADDITIONS``.

    Both ends of a line call this with the same digests in the same order, so each knows what the other has.
    """
    for digest in digests:
        kept.move_to_end(digest)
    while len(kept) > MOST_ADDITIONS:
        kept.popitem(last=False)


def own_digests(frame: Frame) -> list[str]:
    """Return the digests that the texts of a frame need, each once, in order."""
    return list(dict.fromkeys(ask.own for ask in frame.asks if ask.own))
