"""Where audit records come from on this host: our own socket, or beside the audit daemon that has it.

Nobody's socket is ever taken. Beside a daemon the first that works is read: the kernel's multicast group, the
audisp socket, the end of the audit log; rules are added there only when the user says so.
"""

import contextlib
import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from guard_agent.watch import loss as lost
from guard_agent.watch.audit_beside import AUDISP_SOCKETS, AUDIT_LOG, AudispSocket, LogTail
from guard_agent.watch.audit_netlink import AuditControl, AuditError, AuditReader, Record, Status
from guard_agent.watch.audit_own_rules import OwnRules, RuleSet, install_rules, make_rules
from guard_agent.watch.audit_settings import LOCKED, change_settings, note_settings, put_back, read_found
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.serial_gaps import SerialGaps

Say = Callable[[str], None]


class NoAuditError(Exception):
    """There is no audit to read here; the text says why."""


class AuditSource(Protocol):
    """Records as they come. `has_own_rules`: the calls of `audit.v1` are audited, by our own rules."""

    name: str
    has_own_rules: bool

    def fileno(self) -> int | None:
        """Return the descriptor to poll, None where there is nothing to poll."""

    def read(self, most: int) -> list[Record]:
        """Return the records that wait, at most about `most`."""

    def losses(self, *, at_end: bool = False) -> Iterable[tuple[str, int]]:
        """Return what was lost since the last call: where, how many; `at_end`: nothing more is read."""

    def limit(self, *, on: bool) -> bool:
        """Take the busy rules out of the kernel, or put them in again; False when there are none of ours."""

    def close(self) -> str | None:
        """Put everything back as found and close; return what was done, in words."""


class _KernelLosses:
    """What the kernel lost: its own counter, or the numbers that are missing, whichever says more."""

    def __init__(self, control: AuditControl, lost_before: int) -> None:
        self._control, self._counter = control, lost_before
        self._gaps = SerialGaps()
        self._counted = self._missing = self._told = 0

    def look(self, records: list[Record]) -> list[Record]:
        """Look at records and return them."""
        self._gaps.look(records)
        return records

    def take(self, *, at_end: bool) -> int:
        """Return what was lost since the last call."""
        with contextlib.suppress(AuditError):
            now = self._control.status().lost
            self._counted += (
                now - self._counter if now >= self._counter else now
            )  # somebody may have set it back
            self._counter = now
        self._missing += self._gaps.take(at_once=at_end)
        count = max(self._counted, self._missing) - self._told
        self._told += count
        return count


class DaemonSource:
    """We are the audit daemon: settings changed, rules added, records sent to us. `put_back` on close."""

    def __init__(self, control: AuditControl, state: Path, status: Status, rules: RuleSet) -> None:
        self._control = control
        self._reader = AuditReader()
        self.has_own_rules = True
        try:
            self._reader.take_records()
        except AuditError:
            self._reader.close()
            raise
        try:
            found = change_settings(control, state, status)
            self.rules = install_rules(control, state, found, rules)
        except BaseException:
            self._reader.close()
            raise
        self._losses = _KernelLosses(control, status.lost)
        self.name = f"audit netlink, {self.rules.count} rules"

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._reader.fileno()

    def read(self, most: int) -> list[Record]:
        """Return the records that wait."""
        return self._losses.look(self._reader.read(most))

    def losses(self, *, at_end: bool = False) -> list[tuple[str, int]]:
        """Return what the kernel lost."""
        self._reader.overflows = 0  # the numbers say how many
        return [(lost.KERNEL_AUDIT, self._losses.take(at_end=at_end))]

    def limit(self, *, on: bool) -> bool:
        """Take the busy rules out, or put them in again."""
        self.rules.limit(on=on)
        return True

    def close(self) -> str:
        """Put everything back as found."""
        done = self.rules.close()
        self._reader.close()
        self._control.close()
        return done


class GroupSource:
    """A copy of the records of the audit daemon: multicast. It overruns silently, so numbers are compared."""

    def __init__(self, control: AuditControl, rules: OwnRules | None) -> None:
        self._control, self._rules = control, rules
        self._reader = AuditReader()
        try:
            self._reader.join_group()
        except AuditError:
            self._reader.close()
            raise
        self.has_own_rules = rules is not None
        self.name = "the audit multicast group, beside the audit daemon"
        self._losses = _KernelLosses(control, control.status().lost)

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._reader.fileno()

    def read(self, most: int) -> list[Record]:
        """Return the records that wait."""
        return self._losses.look(self._reader.read(most))

    def losses(self, *, at_end: bool = False) -> list[tuple[str, int]]:
        """Return what the kernel lost, or what overran our copy."""
        self._reader.overflows = 0  # the numbers say how many
        return [(lost.KERNEL_AUDIT, self._losses.take(at_end=at_end))]

    def limit(self, *, on: bool) -> bool:
        """Take our own busy rules out, or put them in again."""
        if self._rules is not None:
            self._rules.limit(on=on)
        return self._rules is not None

    def close(self) -> str | None:
        """Take our rules out again, where we added some."""
        done = None if self._rules is None else self._rules.close()
        self._reader.close()
        self._control.close()
        return done


class LineSource:
    """Lines of the audit daemon: its audisp socket, or the end of its log."""

    def __init__(
        self, lines: AudispSocket | LogTail, control: AuditControl | None, rules: OwnRules | None
    ) -> None:
        self._lines, self._control, self._rules = lines, control, rules
        self.name = lines.name
        self.has_own_rules = rules is not None
        self._unreadable = 0

    def fileno(self) -> int | None:
        """Return the descriptor of the socket; a file is not polled."""
        return None if isinstance(self._lines, LogTail) else self._lines.fileno()

    def read(self, most: int) -> list[Record]:
        """Return the records that wait."""
        del most
        return list(self._lines.read())

    def losses(self, *, at_end: bool = False) -> list[tuple[str, int]]:
        """Return the lines that could not be read."""
        del at_end
        count = self._lines.unreadable - self._unreadable
        self._unreadable = self._lines.unreadable
        return [(lost.UNREADABLE, count)]

    def limit(self, *, on: bool) -> bool:
        """Take our own busy rules out, or put them in again."""
        if self._rules is not None:
            self._rules.limit(on=on)
        return self._rules is not None

    def close(self) -> str | None:
        """Take our rules out again, where we added some."""
        done = None if self._rules is None else self._rules.close()
        self._lines.close()
        if self._control is not None:
            self._control.close()
        return done


def open_source(state: Path, pid: int, say: Say, *, with_rules: bool) -> AuditSource:
    """Open what works here; what an agent that was killed has left is put back first.

    Raises:
        NoAuditError: nothing works, with the reason.
        OSError: the state folder cannot be written.
    """
    try:
        control = AuditControl()
    except AuditError as error:
        return _open_lines(None, None, str(error))
    try:
        recover(control, state, say)
        status = control.status()
        holder = status.pid if status.pid and read_stat(status.pid) is not None else 0
        if not holder and status.enabled != LOCKED:
            try:
                return DaemonSource(control, state, status, make_rules(pid, alone=True))
            except AuditError as error:
                if error.number != errno.EEXIST:
                    raise
        rules = None
        if with_rules and status.enabled != LOCKED:
            rules = install_rules(control, state, note_settings(state, status), make_rules(pid, alone=False))
        return _open_beside(control, rules)
    except (AuditError, LookupError) as error:
        control.close()
        return _open_lines(None, None, str(error))


def recover(control: AuditControl, state: Path, say: Say) -> None:
    """Put back what an agent that was killed has left."""
    found = read_found(state)
    if found is not None and not found.is_running:
        say(f"an agent that was killed had left audit changed: {put_back(control, state, found)}")


def _open_beside(control: AuditControl, rules: OwnRules | None) -> AuditSource:
    try:
        return GroupSource(control, rules)
    except AuditError as error:
        try:
            return _open_lines(control, rules, str(error))
        except NoAuditError:
            if rules is not None:
                rules.close()
            raise


def _open_lines(control: AuditControl | None, rules: OwnRules | None, why: str) -> AuditSource:
    for path in AUDISP_SOCKETS:
        with contextlib.suppress(OSError):
            return LineSource(AudispSocket(path), control, rules)
    with contextlib.suppress(OSError):
        return LineSource(LogTail(AUDIT_LOG), control, rules)
    raise NoAuditError(why)
