"""Messages between an API process and its engine processes: four bytes of length, then MessagePack."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from guardhouse.detections.verdict import Frame, Verdict

T = TypeVar("T")
LENGTH_BYTES: Final = 4

MOST_ADDITIONS: Final = 128  # that a process keeps; both sides drop the same ones, the longest unused

frame_to_bytes = msgspec.msgpack.Encoder().encode
frame_from_bytes = msgspec.msgpack.Decoder(Frame).decode
verdicts_to_bytes = msgspec.msgpack.Encoder().encode
verdicts_from_bytes = msgspec.msgpack.Decoder(list[Verdict]).decode


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
