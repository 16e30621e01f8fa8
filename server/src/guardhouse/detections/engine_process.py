"""A process that judges texts: ``python -m guardhouse.detections.engine_process DESCRIPTOR MODEL``.

It reads frames of tasks from a socket and answers each with a frame of outcomes; it ends when the socket closes.
It holds no connection to anything else.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from guardhouse.analysis.injection.score import Engine
from guardhouse.detections.frames import (
    LENGTH_BYTES,
    Outcome,
    Task,
    framed,
    outcomes_to_bytes,
    tasks_from_bytes,
)
from guardhouse.detections.judge_texts import verdicts
from guardhouse.detections.load_engine import load_engine
from guardhouse.detections.run_check import checked
from guardhouse.detections.run_scan import scanned
from guardhouse.detections.scan_task import ScanAsk
from guardhouse.detections.verdict import Ask

READY = framed(outcomes_to_bytes([]))


def main(arguments: list[str]) -> int:
    """Load the model, say that it is ready by an empty frame, and answer until the other side closes."""
    with socket.socket(fileno=int(arguments[0])) as line:
        engine = load_engine(Path(arguments[1]))
        line.sendall(READY)
        while (frame := _read(line)) is not None:
            line.sendall(framed(outcomes_to_bytes(outcomes(engine, tasks_from_bytes(frame)))))
    return 0


def outcomes(engine: Engine, tasks: Sequence[Task]) -> list[Outcome]:
    """Do tasks: the texts to judge together, everything else by itself."""
    judged = iter(verdicts(engine, [task for task in tasks if isinstance(task, Ask)]))
    done: list[Outcome] = []
    for task in tasks:
        if isinstance(task, Ask):
            done.append(next(judged))
        else:
            done.append(scanned(task) if isinstance(task, ScanAsk) else checked(task))
    return done


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
