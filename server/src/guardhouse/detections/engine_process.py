"""A process that judges texts: ``python -m guardhouse.detections.engine_process DESCRIPTOR MODEL``.

It reads frames of asks from a socket and answers each with a frame of verdicts; it ends when the socket closes.
It holds no connection to anything else.
"""

import socket
import sys
from pathlib import Path

from guardhouse.detections.frames import (
    LENGTH_BYTES,
    asks_from_bytes,
    framed,
    verdicts_to_bytes,
)
from guardhouse.detections.judge_texts import verdicts
from guardhouse.detections.load_engine import load_engine

READY = framed(verdicts_to_bytes([]))


def main(arguments: list[str]) -> int:
    """Load the model, say that it is ready by an empty frame, and answer until the other side closes."""
    with socket.socket(fileno=int(arguments[0])) as line:
        engine = load_engine(Path(arguments[1]))
        line.sendall(READY)
        while (frame := _read(line)) is not None:
            answer = verdicts_to_bytes(verdicts(engine, asks_from_bytes(frame)))
            line.sendall(framed(answer))
    return 0


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
