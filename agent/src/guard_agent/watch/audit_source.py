"""Where audit records come from on this host: our own socket, or beside the audit daemon that has it.

Nobody's socket is ever taken. Beside a daemon the first that works is read: the kernel's multicast group, the
audisp socket, the end of the audit log; rules are added there only when the user says so.
"""

import contextlib
import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from guard_agent.watch import loss as lost
from guard_agent.watch.audit_beside import AUDISP_SOCKETS, AUDIT_LOG, AudispSocket, LogTail
from guard_agent.watch.audit_netlink import AuditControl, AuditError, AuditReader, Record, Status
from guard_agent.watch.audit_rule import Rule, pack_rule
from guard_agent.watch.audit_set import (
    BUSY_CALLS,
    CORE_CALLS,
    call_rules,
    machine_abis,
    own_rules,
    watch_rules,
    watched_paths,
)
from guard_agent.watch.audit_settings import (
    LOCKED,
    Found,
    add_rules,
    change_settings,
    note_settings,
    put_back,
    read_found,
)
from guard_agent.watch.inventory import read_stat

Say = Callable[[str], None]
_SERIALS_AFTER_OVERFLOW: Final = 20_000


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

    def losses(self) -> Iterable[tuple[str, int]]:
        """Return what was lost since the last call: where, how many."""

    def limit(self, *, on: bool) -> bool:
        """Take the busy rules out of the kernel, or put them in again; False when there are none of ours."""

    def close(self) -> str | None:
        """Put everything back as found and close; return what was done, in words."""


@dataclass(slots=True)
class OwnRules:
    """Our rules in the kernel, and the way back."""

    control: AuditControl
    state: Path
    found: Found
    busy: list[Rule]
    count: int
    refusal: str | None

    def limit(self, *, on: bool) -> None:
        """Take the busy rules out, or put them in again."""
        if not on:
            add_rules(self.control, self.busy)
            return
        for rule in self.busy:
            self.control.delete_rule(pack_rule(rule))

    def close(self) -> str:
        """Put everything back as found."""
        try:
            return put_back(self.control, self.state, self.found)
        except AuditError as error:
            return f"could not put audit back as found: {error}; run `guardhouse-agent watch --cleanup`"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of `audit.v1`: those that always stand, and the busy ones that the self limit takes out."""

    core: list[Rule]
    busy: list[Rule]


def make_rules(pid: int) -> RuleSet:
    """Return all rules of this machine, `pid` and what it starts left out.

    Raises:
        LookupError: there is no table of system calls for this machine.
    """
    abis = machine_abis()
    watches = watch_rules(abis, watched_paths())
    return RuleSet([*own_rules(pid), *call_rules(abis, CORE_CALLS), *watches], call_rules(abis, BUSY_CALLS))


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
            self.rules = _install(control, state, found, rules)
        except BaseException:
            self._reader.close()
            raise
        self._lost = status.lost
        self.name = f"audit netlink, {self.rules.count} rules"

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._reader.fileno()

    def read(self, most: int) -> list[Record]:
        """Return the records that wait."""
        return self._reader.read(most)

    def losses(self) -> list[tuple[str, int]]:
        """Ask the kernel's counter."""
        try:
            now = self._control.status().lost
        except AuditError:
            return []
        count = now - self._lost if now >= self._lost else now  # somebody may have set it back
        self._lost = now
        overflows, self._reader.overflows = self._reader.overflows, 0
        return [(lost.KERNEL_AUDIT, count), (lost.AUDIT_SOCKET, overflows)]

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


def _install(control: AuditControl, state: Path, found: Found, rules: RuleSet) -> OwnRules:
    try:
        count, refusal = add_rules(control, [*rules.core, *rules.busy])
    except BaseException:
        put_back(control, state, found)
        raise
    return OwnRules(control, state, found, rules.busy, count, refusal)


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
        self._gaps = SerialGaps()
        self._lost = control.status().lost

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._reader.fileno()

    def read(self, most: int) -> list[Record]:
        """Return the records that wait."""
        records = self._reader.read(most)
        if self._reader.overflows:
            self._reader.overflows = 0
            self._gaps.overrun()
        self._gaps.look(records)
        return records

    def losses(self) -> list[tuple[str, int]]:
        """Return what overran our copy, and what the kernel could not even give to the daemon."""
        found = [(lost.AUDIT_SOCKET, self._gaps.take())]
        with contextlib.suppress(AuditError):
            now = self._control.status().lost
            found.append((lost.KERNEL_AUDIT, max(0, now - self._lost)))
            self._lost = now
        return found

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


class SerialGaps:
    """Counts the events that overran a socket, by the serial numbers that are missing after an overflow."""

    def __init__(self) -> None:
        self._last = 0
        self._watched = 0
        self._seen: set[int] = set()
        self._from = 0
        self._untold = 0

    def overrun(self) -> None:
        """Note an overflow: the numbers of the next records are compared."""
        self._from = self._from or self._last
        self._watched = _SERIALS_AFTER_OVERFLOW

    def look(self, records: list[Record]) -> None:
        """Look at records in order."""
        if self._watched:
            for _, text in records:
                serial = serial_of(text)
                if serial > self._from:
                    self._seen.add(serial)
            self._watched -= len(records)
            if self._watched <= 0:
                self._settle()
        if records:
            self._last = max(self._last, serial_of(records[-1][1]))

    def take(self) -> int:
        """Return how many events are missing since the last call; an overflow counts for one at least."""
        if self._watched:
            self._settle()
        count, self._untold = self._untold, 0
        return count

    def _settle(self) -> None:
        missing = max(self._seen) - self._from - len(self._seen) if self._seen and self._from else 0
        self._untold += max(1, missing)
        self._seen.clear()
        self._watched = self._from = 0


def serial_of(text: bytes | str) -> int:
    """Return the serial number in `audit(seconds.milliseconds:serial): …`, 0 when there is none."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    at = raw.find(b":") + 1
    try:
        return int(raw[at : raw.index(b")", at)])
    except ValueError:
        return 0


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

    def losses(self) -> list[tuple[str, int]]:
        """Return the lines that could not be read."""
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
                return DaemonSource(control, state, status, make_rules(pid))
            except AuditError as error:
                if error.number != errno.EEXIST:
                    raise
        rules = None
        if with_rules and status.enabled != LOCKED:
            rules = _install(control, state, note_settings(state, status), make_rules(pid))
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
