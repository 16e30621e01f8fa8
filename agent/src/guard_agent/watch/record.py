"""Watch one command: strace lines become events, events go to the spool, the sender carries them away.

The command's exit status is ours. SIGTERM ends the command and leaves what was not sent within 5 s for the
next run.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from guard_agent.watch import loss as lost
from guard_agent.watch.alphabet import FULL_ALPHABET, SET_ALPHABET
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.door import Door
from guard_agent.watch.launch import Launched
from guard_agent.watch.loss import Loss
from guard_agent.watch.outbox import Outbox
from guard_agent.watch.redact import redact_event
from guard_agent.watch.sender import Sender
from guard_agent.watch.spool import Spool
from guard_agent.watch.strace_reader import StraceReader
from guard_agent.watch.streams import close_spool, leftovers, open_live

DRAIN_SECONDS: Final = 5.0
KILL_AFTER_SECONDS: Final = 3.0
LEFTOVER_SECONDS: Final = 600.0
_WAIT_SECONDS: Final = 0.2
_START_FIELD: Final = (
    19  # starttime is field 22 of /proc/<pid>/stat, 19 behind the closing bracket of the name
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to watch, as whom, and where to keep state."""

    command: list[str]
    credentials: Credentials
    state: Path
    all_calls: bool = False


def start_of(pid: int, ns: int) -> int:
    """Return the process's start from /proc, in clock ticks since boot; else its first event's time in ns."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 -- hot: once per process, no Path object
            return int(file.read(1024).rsplit(b")", 1)[1].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return ns


class _Signals:
    """Passes signals on to the command while it runs, and remembers when we were told to end."""

    def __init__(self, launched: Launched, living: Callable[[], list[int]]) -> None:
        self._launched, self._living = launched, living
        self.term_at: float | None = None
        self._before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        }

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP) and self.term_at is None:
            self.term_at = time.monotonic()
        if number in (signal.SIGINT, signal.SIGQUIT) and _terminal_told_all():
            return
        self._launched.send_signal(number, [])

    def overdue(self) -> None:
        """Kill what did not end in time after a SIGTERM."""
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
    alphabet = FULL_ALPHABET if plan.all_calls else SET_ALPHABET
    key = plan.credentials.key
    spool = open_live(plan.state, key.agent_id, alphabet)
    launched = Launched(plan.command, plan.state / "runs", all_calls=plan.all_calls)
    sender = Sender(Outbox(spool), Door(plan.credentials.server), key, say)
    sending = threading.Thread(target=sender.run, name="sender", daemon=True)
    sending.start()
    rest = threading.Thread(target=send_leftovers, args=(plan, say), name="leftovers", daemon=True)
    rest.start()
    reader = StraceReader(fold=plan.all_calls, start_of=start_of, directory=str(Path.cwd()))
    signals = _Signals(launched, reader.processes.living)
    try:
        _pump(launched, reader, spool, signals)
        status = launched.wait()
    finally:
        signals.restore()
    seconds = DRAIN_SECONDS
    if signals.term_at is not None:
        seconds = max(0.5, DRAIN_SECONDS - (time.monotonic() - signals.term_at) - 0.3)
    sender.stop(seconds)
    sending.join(seconds + 0.2)
    if not sending.is_alive():
        sender.close()
    _tell_end(sender, spool, reader, say)
    close_spool(spool)
    return status


def _pump(launched: Launched, reader: StraceReader, spool: Spool, signals: _Signals) -> None:
    unreadable = 0
    for lines in launched.chunks(_WAIT_SECONDS):
        signals.overdue()
        events = [redact_event(event) for line in lines for event in reader.feed(line)]
        spool.append(events)
        if reader.report.unreadable > unreadable:
            now = time.time_ns()
            spool.count_loss(Loss(lost.UNREADABLE, reader.report.unreadable - unreadable, now, now))
            unreadable = reader.report.unreadable
    spool.append([redact_event(event) for event in reader.finish()])


def send_leftovers(plan: Plan, say: Say) -> None:
    """Send what earlier runs left on the disk, stream by stream; what cannot be sent is kept."""
    for spool in leftovers(plan.state, plan.credentials.key.agent_id):
        if spool.waiting:
            sender = Sender(
                Outbox(spool), Door(plan.credentials.server), plan.credentials.key, lambda _text: None
            )
            sender.stop(LEFTOVER_SECONDS)
            sender.run()
            sender.close()
            sent = sender.totals.stored + sender.totals.duplicates
            if sent:
                say(f"sent {sent} events that an earlier run had left on disk")
        close_spool(spool)


def _tell_end(sender: Sender, spool: Spool, reader: StraceReader, say: Say) -> None:
    totals, report = sender.totals, reader.report
    refused = sum(totals.refused.values())
    stored = totals.stored + totals.duplicates
    text = f"{spool.offered} events of {reader.processes.seen} processes: {stored} stored"
    if refused:
        text += f", {refused} refused"
    text += f", {spool.losses.total} lost"
    if spool.waiting:
        text += f"; {spool.waiting} wait in {spool.folder} and are sent by the next run"
    say(text)
    if report.unreadable:
        say(f"{report.unreadable} lines of strace could not be read, the last one: {report.kept[-1][:200]!r}")
