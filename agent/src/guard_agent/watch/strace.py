"""Read strace logs, plain or gzip, as events of the wire. For others: `open_log` and `read_strace`.

No line is fatal: what cannot be read is counted, and the last 100 such lines are kept in the report.
"""

import gzip
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, cast

from guard_agent.watch.alphabet import CALL_SET, FULL_ALPHABET, SET_ALPHABET
from guard_agent.watch.fold import Event
from guard_agent.watch.processes import StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace_line import MAX_PID, read_name, read_prefix
from guard_agent.watch.strace_reader import StraceReader

MAX_LINE_BYTES: Final = 65_536
LOOK_AHEAD_LINES: Final = 4096
LOOK_AHEAD_BYTES: Final = 4 * 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_OWN_PID: Final = re.compile(r"(?:set_tid_address|getpid|gettid)\(.*\)\s*= (\d{1,7})\b")
# Calls that leave the process in every set as well: they say nothing about how much was traced.
_IN_ANY: Final = CALL_SET | {"exit", "exit_group", "restart_syscall"}

__all__ = [
    "Event",
    "ReadReport",
    "StraceReader",
    "alphabet_of",
    "needs_day",
    "open_log",
    "own_pid",
    "read_strace",
]


def open_log(path: Path) -> Iterator[bytes]:
    """Yield the lines of a log, gunzipped when it is gzip by content.

    A line longer than 64 KiB is cut there and its rest skipped, so memory stays bounded. A gzip file that
    is cut or damaged ends where its readable part ends.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            yield from _lines(source)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return


def _lines(source: IO[bytes]) -> Iterator[bytes]:
    while line := source.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            while (more := source.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
                pass
        yield line


def read_strace(
    lines: Iterable[bytes | str],
    *,
    fold: bool = False,
    start_of: StartOf = start_at_first_event,
    directory: str | None = None,
    midnight_ns: int = 0,
    report: ReadReport | None = None,
) -> Iterator[Event]:
    """Yield the events of a strace log in the shape of section 2.1, without `seq`.

    Args:
        lines: the log, bytes or text, with or without line ends.
        fold: join consecutive argument-less calls of one thread into `calls` events (≤ 512 names).
        start_of: gives `start` from (pid, ns of its first event); default: that time itself.
        directory: working directory of the first process, where known.
        midnight_ns: start of the day that `-t` and `-tt` times belong to, ns since the epoch.
        report: filled in place with what was read; see `ReadReport`.
    """
    reading = iter(lines)
    head = _take_head(reading)
    reader = StraceReader(
        fold=fold, start_of=start_of, directory=directory, midnight_ns=midnight_ns, only_pid=own_pid(head)
    )
    if report is not None:
        reader.report = report
    for line in itertools.chain(head, reading):
        yield from reader.feed(line)
    yield from reader.finish()


def _take_head(reading: Iterator[bytes | str]) -> list[bytes | str]:
    """Take the first lines of a log, 4,096 or 4 MiB of them."""
    head: list[bytes | str] = []
    room = LOOK_AHEAD_BYTES
    for line in itertools.islice(reading, LOOK_AHEAD_LINES):
        head.append(line)
        room -= len(line)
        if room <= 0:
            break
    return head


def own_pid(head: Iterable[bytes | str]) -> int:
    """Find the pid of a log without a pid column: what the process was told about itself, else 0."""
    for line in head:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        prefix = read_prefix(text)
        if prefix is None:
            continue
        if prefix.pid is not None:
            return 0
        match = _OWN_PID.match(text, prefix.rest_at)
        if match is not None and int(match.group(1)) <= MAX_PID:
            return int(match.group(1))
    return 0


def alphabet_of(lines: Iterable[bytes | str]) -> str:
    """Tell from the first 4,096 lines of a log whether it is a full trace or one of a call set."""
    for line in itertools.islice(lines, LOOK_AHEAD_LINES):
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        prefix = read_prefix(text)
        if prefix is None:
            continue
        name = read_name(text[prefix.rest_at :])
        if name is not None and name not in _IN_ANY:
            return FULL_ALPHABET
    return SET_ALPHABET


def needs_day(lines: Iterable[bytes | str]) -> bool:
    """Tell whether a log's times lack the day: `-t`, `-tt`, or no times at all."""
    for line in itertools.islice(lines, LOOK_AHEAD_LINES):
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        prefix = read_prefix(text)
        if prefix is not None and prefix.ns is not None:
            return prefix.day_ns
    return True
