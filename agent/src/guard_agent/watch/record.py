"""Watch one command: strace lines become events, events go to the spool, the sender carries them away.

The command's exit status is ours. SIGTERM ends the command and leaves what was not sent within 5 s for the
next run.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from guard_agent.watch import loss as lost
from guard_agent.watch.alphabet import FULL_ALPHABET, SET_ALPHABET
from guard_agent.watch.cpu_limit import CpuLimit
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.deliver import DRAIN_SECONDS, Delivery
from guard_agent.watch.intake import Intake
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.launch import Launched
from guard_agent.watch.redact import Redactor
from guard_agent.watch.strace_reader import StraceReader

KILL_AFTER_SECONDS: Final = 3.0
_WAIT_SECONDS: Final = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to watch, as whom, and where to keep state."""

    command: list[str]
    credentials: Credentials
    state: Path
    all_calls: bool = False
    redactor: Redactor = field(default_factory=Redactor)
    cpu_percent: float = 0.0


def start_of(pid: int, ns: int) -> int:
    """Return the process's start from /proc, in clock ticks since boot; else its first event's time in ns."""
    stat = read_stat(pid)
    return ns if stat is None else stat[2]


class _Signals:
    """Passes signals on to the command, and remembers when we were told to end.

    The handlers stand before the command is started; what comes before its pid is known is kept for it.
    """

    def __init__(self) -> None:
        self.term_at: float | None = None
        self._early: list[int] = []
        self._launched: Launched | None = None
        self._living: Callable[[], list[int]] = list
        self._before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        }

    def attach(self, launched: Launched, living: Callable[[], list[int]]) -> None:
        """Name the command that signals go to, and what tells its living processes."""
        self._launched, self._living = launched, living

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP) and self.term_at is None:
            self.term_at = time.monotonic()
        if number in (signal.SIGINT, signal.SIGQUIT) and _terminal_told_all():
            return
        if self._launched is None or self._launched.pid is None:
            self._early.append(number)
        else:
            self._launched.send_signal(number, [])

    def catch_up(self) -> None:
        """Pass on what came early; kill what did not end in time after a SIGTERM."""
        if self._launched is None:
            return
        while self._early and self._launched.pid is not None:
            self._launched.send_signal(self._early.pop(0), [])
        if self.term_at is not None and time.monotonic() - self.term_at >= KILL_AFTER_SECONDS:
            self._launched.send_signal(signal.SIGKILL, self._living())

    def restore(self) -> None:
        """Put the handlers back as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _terminal_told_all() -> bool:
    """Tell whether Ctrl-C went from the terminal to the command as well: we share its foreground group."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def record(plan: Plan, say: Say) -> int:
    """Run the command, report what it does, and return its exit status (128 + n when signal n ended it).

    Raises:
        StraceMissingError: strace is missing.
        OSError: the state folder cannot be written.
    """
    signals = _Signals()
    try:
        return _record(plan, signals, say)
    finally:
        signals.restore()


def _record(plan: Plan, signals: _Signals, say: Say) -> int:
    alphabet = FULL_ALPHABET if plan.all_calls else SET_ALPHABET
    delivery = Delivery(plan.credentials, plan.state, alphabet, say)
    launched = Launched(plan.command, plan.state / "runs", all_calls=plan.all_calls)
    reader = StraceReader(fold=plan.all_calls, start_of=start_of, directory=str(Path.cwd()))
    signals.attach(launched, reader.processes.living)
    delivery.start()
    intake = Intake(delivery.spool, plan.redactor, CpuLimit(plan.cpu_percent), say)
    _pump(launched, reader, intake, signals)
    status = launched.wait()
    seconds = DRAIN_SECONDS
    if signals.term_at is not None:
        seconds = max(0.5, DRAIN_SECONDS - (time.monotonic() - signals.term_at) - 0.3)
    delivery.stop(reader.processes.seen, seconds)
    report = reader.report
    if report.unreadable:
        say(f"{report.unreadable} lines of strace could not be read, the last one: {report.kept[-1][:200]!r}")
    return status


def _pump(launched: Launched, reader: StraceReader, intake: Intake, signals: _Signals) -> None:
    unreadable = 0
    for lines in launched.chunks(_WAIT_SECONDS):
        signals.catch_up()
        intake.take([event for line in lines for event in reader.feed(line)])
        if reader.report.unreadable > unreadable:
            intake.count_lost(lost.UNREADABLE, reader.report.unreadable - unreadable)
            unreadable = reader.report.unreadable
    intake.take(reader.finish())
