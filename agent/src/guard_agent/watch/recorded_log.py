"""Tell what recorded files are, and which of them are one log.

A strace log is one file. Files of auditd are one log together, however they were rotated and named: a call's
records and a process's life go on from file to file, so the files are read as one, oldest first.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guard_agent.watch.alphabet import AUDIT_ALPHABET, AUDITD_ALPHABET
from guard_agent.watch.audit_log import LOOK_AHEAD_LINES, is_own_rule, read_audit, read_stamp
from guard_agent.watch.fold import Event
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace import alphabet_of, needs_day, open_log, read_strace
from guard_agent.watch.strace_line import read_name, read_prefix

AUDITD: Final = "auditd"
STRACE: Final = "strace"
FORMATS: Final = (AUDITD, STRACE)


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """One log: how it is written, and its files, oldest first."""

    format: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Name the log by its files."""
        first = str(self.paths[0])
        return first if len(self.paths) == 1 else f"{first} and {len(self.paths) - 1} more"

    def lines(self) -> Iterator[bytes]:
        """Yield its lines; see `open_log`."""
        return itertools.chain.from_iterable(open_log(path) for path in self.paths)

    def digest(self) -> str:
        """Return the SHA-256 of its content in hex; of several files, that of their digests in order.

        Raises:
            OSError: a file cannot be read.
        """
        digests = [digest(path) for path in self.paths]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def needs_day(self) -> bool:
        """Tell whether its times lack the day."""
        return self.format == STRACE and needs_day(self.lines())

    def alphabet(self) -> str:
        """Name the set of calls that it has; an audit log of other rules than ours has a set of its own."""
        if self.format == STRACE:
            return alphabet_of(self.lines())
        calls = [
            line for line in itertools.islice(self.lines(), LOOK_AHEAD_LINES) if b"type=SYSCALL " in line
        ]
        return AUDIT_ALPHABET if calls and all(map(is_own_rule, calls)) else AUDITD_ALPHABET

    def events(self, *, fold: bool, midnight_ns: int, report: ReadReport | None = None) -> Iterator[Event]:
        """Yield its events, without `seq`; `report` is filled in place."""
        if self.format == STRACE:
            return read_strace(self.lines(), fold=fold, midnight_ns=midnight_ns, report=report)
        return read_audit(self.lines(), fold=fold, report=report)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_logs(paths: Sequence[Path], told: str | None = None) -> list[RecordedLog]:
    """Return the logs that files make, in the order given; `told` is their format, else their content says it.

    A file that is there twice (a rotated copy) is read once.

    Raises:
        OSError: a file cannot be read.
    """
    logs = [RecordedLog(STRACE, (path,)) for path in paths if _format(path, told) == STRACE]
    audit = [path for path in paths if _format(path, told) == AUDITD]
    if audit:
        distinct = {digest(path): path for path in reversed(audit)}
        ordered = sorted(distinct.values(), key=lambda path: (_age(path), str(path)))
        logs.append(RecordedLog(AUDITD, tuple(ordered)))
    return logs


def _format(path: Path, told: str | None) -> str:
    """Tell a file's format by what more of its first lines are: audit records or calls of strace."""
    if told is not None:
        return told
    audit = trace = 0
    for line in _head(path):
        if read_stamp(line) is not None:
            audit += 1
        else:
            trace += _is_call(line.decode("utf-8", "replace"))
    return AUDITD if audit > trace else STRACE


def _is_call(text: str) -> bool:
    prefix = read_prefix(text)
    return prefix is not None and read_name(text[prefix.rest_at :]) is not None


def _head(path: Path) -> Iterator[bytes]:
    return itertools.islice(open_log(path), LOOK_AHEAD_LINES)


def _age(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return what orders files by age: the first and the newest (ns, serial) of their first lines."""
    stamps = [stamp for line in _head(path) if (stamp := read_stamp(line)) is not None]
    return (stamps[0], max(stamps)) if stamps else ((1 << 63, 0), (0, 0))
