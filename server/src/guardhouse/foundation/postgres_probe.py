"""Ask a PostgreSQL whether it takes connections, in its own protocol.

A process id proves little: a zombie has one, and so does a server that still replays its log.
"""

import socket
import struct
from enum import Enum

_PROTOCOL_3 = 196608
_CANNOT_CONNECT_NOW = b"57P03"
_HEAD_BYTES = 5
_ANSWER_LIMIT_BYTES = 8192


class Answer(Enum):
    """What a server said to a start-up message."""

    READY = "ready"
    NOT_YET = "not_yet"
    SILENT = "silent"


def ask(host: str, port: int, *, timeout_seconds: float = 2.0) -> Answer:
    """Send a start-up message and judge the answer.

    READY means that a backend was forked and asked for a password; NOT_YET that the server starts, stops or
    recovers; SILENT that nobody answered in the protocol.
    """
    parameters = b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3) + parameters)
            # Read all of the answer: closing on unread bytes resets the connection, which the server logs.
            (kind, length) = struct.unpack("!ci", connection.recv(_HEAD_BYTES, socket.MSG_WAITALL))
            body = connection.recv(min(length - 4, _ANSWER_LIMIT_BYTES), socket.MSG_WAITALL)
    except (OSError, struct.error, ValueError):
        return Answer.SILENT
    if kind == b"R":
        return Answer.READY
    if kind != b"E":
        return Answer.SILENT
    fields = body.split(b"\0")
    code = next((field[1:] for field in fields if field[:1] == b"C"), b"")
    return Answer.NOT_YET if code == _CANNOT_CONNECT_NOW else Answer.READY


def is_free(port: int) -> bool:
    """Tell whether this machine's loopback lets us listen on ``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
