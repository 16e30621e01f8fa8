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
    key = plan.credentials.key
    spool = open_live(plan.state, key.agent_id, FULL_ALPHABET if plan.all_calls else SET_ALPHABET)
    launched = Launched(plan.command, plan.state / "runs", all_calls=plan.all_calls)
    reader = StraceReader(fold=plan.all_calls, start_of=start_of, directory=str(Path.cwd()))
    signals.attach(launched, reader.processes.living)
    sender = Sender(Outbox(spool), Door(plan.credentials.server), key, say)
    sending = threading.Thread(target=sender.run, name="sender", daemon=True)
    sending.start()
    threading.Thread(target=send_leftovers, args=(plan, say), name="leftovers", daemon=True).start()
    _pump(launched, reader, spool, signals)
    status = launched.wait()
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
        signals.catch_up()
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
        sender = Sender(
            Outbox(spool), Door(plan.credentials.server), plan.credentials.key, lambda _text: None
        )
        while spool.waiting:
            step = sender.step()
            if step.blocked is not None:
                break
            time.sleep(step.seconds)
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
