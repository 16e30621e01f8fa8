"""Read logs of auditd, plain or gzip, rotated or raw from its dispatcher, as events of the wire.

No line is fatal: what cannot be read is counted, and the last 100 such lines are kept in the report.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from guard_agent.watch.audit_records import Assembler
from guard_agent.watch.audit_text import read_head
from guard_agent.watch.fold import Event
from guard_agent.watch.processes import StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport

AUDIT_ALPHABET: Final = "audit.v1"
LOOK_AHEAD_LINES: Final = 256
JUMP_NS: Final = 3_600_000_000_000
_LINE: Final = re.compile(
    r"\s{0,8}(?:node=\S{1,255} )?type=([A-Za-z0-9_]{1,64}(?:\[\d{1,6}\])?) msg=(?=audit\()", re.ASCII
)


def split_line(text: str) -> tuple[str, str] | None:
    """Split `[node=…] type=NAME msg=audit(…): …` into the type and what the kernel wrote; None for any other line."""
    match = _LINE.match(text)
    return (match.group(1), text[match.end() :]) if match else None


class AuditReader:
    """Turns lines into events; the log's own time is the clock, one wrong time does not move it."""

    def __init__(self, *, fold: bool = False, start_of: StartOf = start_at_first_event) -> None:
        self.assembler = Assembler(fold=fold, start_of=start_of)
        self._clock = 0
        self._jumped = 0

    def feed(self, line: bytes | str) -> list[Event]:
        """Read one line; return the events it completes."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = text.rstrip("\r\n")
        report = self.assembler.report
        if not text.strip():
            report.lines += 1
            report.without_event["empty"] += 1
            return []
        split = split_line(text)
        if split is None:
            report.lines += 1
            report.keep(text)
            return []
        return self.assembler.feed(*split, self._time(split[1]))

    def finish(self) -> list[Event]:
        """Return what still waits."""
        return self.assembler.finish()

    def _time(self, record: str) -> int:
        """Follow the log's time; a jump over an hour counts when the next record confirms it."""
        head = read_head(record)
        if head is not None:
            if abs(head.ns - self._clock) < JUMP_NS or abs(head.ns - self._jumped) < JUMP_NS:
                self._clock = head.ns
            self._jumped = head.ns
        return self._clock


def read_audit(
    lines: Iterable[bytes | str],
    *,
    fold: bool = False,
    start_of: StartOf = start_at_first_event,
    report: ReadReport | None = None,
) -> Iterator[Event]:
    """Yield the events of an audit log in the shape of section 2.1, without `seq`.

    Args:
        lines: the log, bytes or text, with or without line ends.
        fold: join consecutive argument-less calls of one process into `calls` events (≤ 512 names).
        start_of: gives `start` from (pid, ns of its first event); default: that time itself.
        report: filled in place with what was read; see `ReadReport`.
    """
    reader = AuditReader(fold=fold, start_of=start_of)
    if report is not None:
        reader.assembler.report = report
    for line in lines:
        yield from reader.feed(line)
    yield from reader.finish()


def is_audit_log(head: Iterable[bytes | str]) -> bool:
    """Tell whether one of the first lines is an audit record and none before it is anything else."""
    for line in head:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        if text.strip():
            return split_line(text) is not None
    return False
