"""A process that judges texts: ``python -m guardhouse.detections.engine_process DESCRIPTOR MODEL``.

It reads frames of tasks from a socket and answers each with a frame of outcomes; it ends when the socket closes.
It holds no connection to anything else.
"""

import socket
import sys
from collections import OrderedDict
from pathlib import Path

from guardhouse.analysis.injection.score import Engine, Own
from guardhouse.detections.frames import (
    LENGTH_BYTES,
    Outcome,
    frame_from_bytes,
    framed,
    outcomes_to_bytes,
    own_digests,
    used,
)
from guardhouse.detections.judge_texts import compiled, verdicts
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.run_check import checked
from guardhouse.detections.run_scan import scanned
from guardhouse.detections.scan_task import ScanAsk
from guardhouse.detections.verdict import Ask, Frame

READY = framed(outcomes_to_bytes([]))


def main(arguments: list[str]) -> int:
    """Load the model, say that it is ready by an empty frame, and answer until the other side closes."""
    with socket.socket(fileno=int(arguments[0])) as line:
        engine = load_engine(Path(arguments[1]))
        kept: OrderedDict[str, Own] = OrderedDict()
        line.sendall(READY)
        while (frame := _read(line)) is not None:
            line.sendall(framed(outcomes_to_bytes(_answer(engine, frame_from_bytes(frame), kept))))
    return 0


def _answer(engine: Engine, frame: Frame, kept: OrderedDict[str, Own]) -> list[Outcome]:
    """Do tasks: the texts to judge together, everything else by itself."""
    kept.update({digest: compiled(added) for digest, added in frame.additions.items()})
    judged = iter(verdicts(engine, [ask for ask in frame.asks if isinstance(ask, Ask)], kept))
    found: list[Outcome] = []
    for task in frame.asks:
        if isinstance(task, Ask):
            found.append(next(judged))
        else:
            found.append(scanned(task) if isinstance(task, ScanAsk) else checked(task))
    used(kept, own_digests(frame))
    return found


def _read(line: socket.socket) -> bytes | None:
    head = _exactly(line, LENGTH_BYTES)
    return None if head is None else _exactly(line, int.from_bytes(head, "big"))


def _exactly(line: socket.socket, count: int) -> bytes | None:
    pieces: list[bytes] = []
    while count:
        piece = line.recv(min(count, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
