"""Read audit records beside an audit daemon that has them: what audisp passes on, or the end of the audit log.

Both give lines `type=NAME msg=audit(…): …`. Nothing of the daemon is changed.
"""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from guard_agent.watch.audit_log import split_line

AUDISP_SOCKETS: Final = (Path("/var/run/audispd_events"), Path("/run/audit/audispd_events"))
AUDIT_LOG: Final = Path("/var/log/audit/audit.log")
MAX_LINE_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 256 * 1024

NamedRecord = tuple[str, str]


class _Lines:
    """Bytes in, whole lines out; a line beyond 64 KiB is dropped and counted."""

    def __init__(self) -> None:
        self._rest = b""
        self.unreadable = 0

    def feed(self, data: bytes) -> list[NamedRecord]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
            self.unreadable += 1
        records = []
        for line in lines:
            record = split_line(line.decode("utf-8", "replace"))
            if record is not None:
                records.append(record)
            elif line.strip():
                self.unreadable += 1
        return records


class AudispSocket:
    """The socket that the af_unix plugin of the audit daemon writes records to.

    Raises:
        OSError: it is not there, or not for us.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"the audisp socket {path}"
        self._lines = _Lines()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(0)
        self.ended = False

    @property
    def unreadable(self) -> int:
        """Return how many lines could not be read."""
        return self._lines.unreadable

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def read(self) -> list[NamedRecord]:
        """Return the records that wait."""
        with contextlib.suppress(BlockingIOError):
            data = self._socket.recv(_READ_BYTES)
            self.ended = self.ended or not data
            return self._lines.feed(data)
        return []

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class LogTail:
    """The growing end of the audit log; a log that is rotated away is read to its end, then the new one.

    Raises:
        OSError: the log cannot be read.
    """

    def __init__(self, path: Path = AUDIT_LOG) -> None:
        self.name = f"the audit log {path}"
        self._path = path
        self._lines = _Lines()
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self._file, 0, os.SEEK_END)
        self.ended = False

    @property
    def unreadable(self) -> int:
        """Return how many lines could not be read."""
        return self._lines.unreadable

    def read(self) -> list[NamedRecord]:
        """Return the records written since the last call, at most 256 KiB of them."""
        data = os.read(self._file, _READ_BYTES)
        if not data:
            self._follow()
            data = os.read(self._file, _READ_BYTES)
        return self._lines.feed(data)

    def _follow(self) -> None:
        with contextlib.suppress(OSError):
            ours, now = os.fstat(self._file), self._path.stat()
            if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
                following = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                os.close(self._file)
                self._file = following
            elif now.st_size < os.lseek(self._file, 0, os.SEEK_CUR):
                os.lseek(self._file, 0, os.SEEK_SET)

    def close(self) -> None:
        """Close the log."""
        os.close(self._file)
