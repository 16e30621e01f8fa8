"""Hear from the kernel's process connector who forks, execs, changes its user and exits, with times.

The connector numbers its messages per CPU, so what was lost is counted exactly. It speaks to root in the
first process namespace only; elsewhere it stays silent, which `ProcConnector` finds out at once.
Source: linux/cn_proc.h, linux/connector.h.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

NETLINK_CONNECTOR: Final = 11
RECEIVE_BYTES: Final = 8 * 1024 * 1024
_CN_IDX_PROC: Final = 1
_CN_VAL_PROC: Final = 1
_LISTEN: Final = 1
_IGNORE: Final = 2
_SO_RCVBUFFORCE: Final = 33
_NLMSG_DONE: Final = 3

NONE: Final = 0
FORK: Final = 0x1
EXEC: Final = 0x2
UID: Final = 0x4
EXIT: Final = 0x80000000

_NETLINK: Final = struct.Struct("=IHHII")
_CONNECTOR: Final = struct.Struct("=IIIIHH")
_EVENT: Final = struct.Struct("=IIQ")  # what, cpu, ns since boot without suspend
_EVENT_AT: Final = _NETLINK.size + _CONNECTOR.size
_DATA_AT: Final = _EVENT_AT + _EVENT.size
_DATA: Final = {
    FORK: struct.Struct("=4i"),  # parent tid, parent pid, child tid, child pid
    EXEC: struct.Struct("=2i"),  # tid, pid
    UID: struct.Struct("=2i2I"),  # tid, pid, real, effective
    EXIT: struct.Struct("=2i2I"),  # tid, pid, code, signal
}
_ANSWER_SECONDS: Final = 1.0


class ConnectorError(Exception):
    """The process connector cannot be heard here; the text says why."""


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """One message: `ns` is the monotonic clock's; for FORK `tid`, `pid` are the parent's, `numbers` the child's.

    `numbers`: FORK child tid and pid; UID real and effective user; EXIT the wait status and the exit signal.
    """

    what: int
    ns: int
    tid: int
    pid: int
    numbers: tuple[int, ...]


class ProcConnector:
    """The socket of the process connector.

    Raises:
        ConnectorError: not permitted, not in this kernel, or not in this process namespace.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._next: dict[int, int] = {}
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_CONNECTOR
            )
        except (OSError, AttributeError) as error:
            raise ConnectorError(f"this kernel has no process connector ({error})") from error
        try:
            self._socket.bind((0, _CN_IDX_PROC))
            for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BYTES // 2)
                    break
            self._tell(_LISTEN)
            self._wait_for_answer()
        except OSError as error:
            self._socket.close()
            raise ConnectorError(_why(error)) from error
        except ConnectorError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def read(self, most: int = 100_000) -> list[ProcessEvent]:
        """Return what waits; losses are added to `lost`."""
        events: list[ProcessEvent] = []
        with contextlib.suppress(BlockingIOError):
            while len(events) < most:
                try:
                    data = self._socket.recv(4096, socket.MSG_DONTWAIT)
                except OSError as error:
                    if error.errno == errno.ENOBUFS:
                        continue  # the numbers of the next messages say how many
                    raise
                event = self.parse(data)
                if event is not None:
                    events.append(event)
        return events

    def parse(self, data: bytes) -> ProcessEvent | None:
        """Read one message; None for what we have no use for."""
        if len(data) < _DATA_AT:
            return None
        number = _CONNECTOR.unpack_from(data, _NETLINK.size)[2]
        what, cpu, ns = _EVENT.unpack_from(data, _EVENT_AT)
        if what == NONE:
            return None
        expected = self._next.get(cpu)
        if expected is not None and number != expected:
            self.lost += (number - expected) & 0xFFFF_FFFF
        self._next[cpu] = (number + 1) & 0xFFFF_FFFF
        shape = _DATA.get(what)
        if shape is None or len(data) < _DATA_AT + shape.size:
            return None
        tid, pid, *numbers = shape.unpack_from(data, _DATA_AT)
        return ProcessEvent(what, ns, tid, pid, tuple(numbers))

    def close(self) -> None:
        """Stop listening and close."""
        with contextlib.suppress(OSError):
            self._tell(_IGNORE)
        self._socket.close()

    def _tell(self, operation: int) -> None:
        body = struct.pack("=I", operation)
        message = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(body), 0) + body
        self._socket.send(
            _NETLINK.pack(_NETLINK.size + len(message), _NLMSG_DONE, 0, 0, os.getpid()) + message
        )

    def _wait_for_answer(self) -> None:
        """Wait for the acknowledgement; process events that come first are read and forgotten."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            data = self._socket.recv(4096)
            if len(data) < _DATA_AT:
                continue
            what, _, _ = _EVENT.unpack_from(data, _EVENT_AT)
            if what == NONE:
                code = struct.unpack_from("=I", data, _DATA_AT)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return
            self.parse(data)
        raise ConnectorError(
            "the process connector does not answer: it speaks in the first process namespace only"
        )


def _why(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "the process connector is not permitted: it takes root, or CAP_NET_ADMIN"
    if error.errno in (errno.ECONNREFUSED, errno.EPROTONOSUPPORT):
        return "this kernel has no process connector (CONFIG_PROC_EVENTS)"
    return f"the process connector cannot be heard: {error.strerror}"
