"""Read logs of auditd, plain or gzip, rotated or raw from its dispatcher, as events of the wire.

No line is fatal: what cannot be read is counted, and the last 100 such lines are kept in the report.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from guard_agent.watch.audit_records import OWN_KEY, Assembler
from guard_agent.watch.audit_text import decode, read_fields, read_head
from guard_agent.watch.fold import Event
from guard_agent.watch.processes import StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport

LOOK_AHEAD_LINES: Final = 4096
STEP_NS: Final = 20_000_000
_RECORD: Final = r"(?:node=\S{1,255} )?type=([A-Za-z0-9_]{1,64}(?:\[\d{1,6}\])?) (?:msg=)?(?=audit\()"
_LINE: Final = re.compile(r"\s{0,8}" + _RECORD, re.ASCII)
# As syslog has them, from the dispatcher or the kernel: behind a date, a host, `audispd:` or `audit:`.
_BEHIND: Final = re.compile(r"[^=\"'(]{1,200}?: " + _RECORD, re.ASCII)


def split_line(text: str) -> tuple[str, str] | None:
    """Split `[node=…] type=NAME msg=audit(…): …` into the type and what the kernel wrote; None for any other line.

    The same is read behind what syslog puts before it, where the type may be a number.
    """
    match = _LINE.match(text) or _BEHIND.match(text[:512])
    return (match.group(1), text[match.end() :]) if match else None


class AuditReader:
    """Turns lines into events; the log's own time is the clock that says when a call is complete."""

    def __init__(self, *, fold: bool = False, start_of: StartOf = start_at_first_event) -> None:
        self.assembler = Assembler(fold=fold, start_of=start_of)
        self._clock = 0
        self._last_ns = 0

    def feed(self, line: bytes | str) -> list[Event]:
        """Read one line; return the events it completes."""
        text = _text(line).rstrip("\r\n")
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
        """Follow the log's time, forwards and in small steps: a wrong time, or an hour of silence, is one step."""
        head = read_head(record)
        if head is not None:
            self._clock += min(max(0, head.ns - self._last_ns), STEP_NS)
            self._last_ns = head.ns
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


def is_own_rule(line: bytes | str) -> bool:
    """Tell whether a SYSCALL line came by one of our own rules."""
    return OWN_KEY in decode_keys(read_fields(_text(line)).get("key"))


def decode_keys(value: str | None) -> list[str]:
    """Return the keys of a record; several come joined by 0x01."""
    text = decode(value)
    return [] if text is None else text.split("\x01")


def read_stamp(line: bytes | str) -> tuple[int, int] | None:
    """Return (ns, serial) of a line, None when it is no record."""
    split = split_line(_text(line))
    head = None if split is None else read_head(split[1])
    return None if head is None else (head.ns, head.serial)


def _text(line: bytes | str) -> str:
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line
