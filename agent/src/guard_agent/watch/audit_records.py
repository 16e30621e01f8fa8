"""Rebuild events of the wire (section 2.1) from Linux audit records, one record at a time.

A call comes as several records with one serial (SYSCALL, EXECVE, PATH, CWD, SOCKADDR, PROCTITLE, …) that end with
EOE; where EOE is missing or was lost, 2 s are waited. A broken record costs only itself; nothing here raises on
any text, and what waits is bounded. The program is taken from the record (`exe`), never from /proc, which has
forgotten a short-lived process before anyone can look.
"""

from collections.abc import Collection
from typing import Any, Final

from guard_agent.watch.alphabet import EXEC_CALLS, FORK_CALLS
from guard_agent.watch.audit_args import is_worth_keeping, read_arguments
from guard_agent.watch.audit_call import AuditCall, read_call
from guard_agent.watch.audit_text import (
    MAX_RECORD_CHARS,
    TYPES,
    Head,
    decode,
    read_fields,
    read_head,
    type_number,
)
from guard_agent.watch.descriptors import close_on_exec, follow
from guard_agent.watch.fold import Event, Fold
from guard_agent.watch.pending_records import WAIT_NS, PendingRecords, Waiting
from guard_agent.watch.processes import Process, ProcessTable, StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace_line import MAX_PID

OWN_KEY: Final = "guardhouse"
MAX_HEAD_CHARS: Final = 80
DELETED: Final = " (deleted)"
_SYSCALL: Final = TYPES["SYSCALL"]
_EOE: Final = TYPES["EOE"]
_CONFIG_CHANGE: Final = TYPES["CONFIG_CHANGE"]
_URINGOP: Final = TYPES["URINGOP"]
_LOGIN: Final = TYPES["LOGIN"]
# Parts that say nothing an event has room for: the title is the program's own word, the rest are its rights.
_UNUSED: Final = frozenset(TYPES[name] for name in ("PROCTITLE", "BPRM_FCAPS", "CAPSET", "MMAP", "BPF"))
_PARTS: Final = frozenset(TYPES.values()) - _UNUSED - {_EOE, _URINGOP, _LOGIN}
_EXITS: Final = "exit_group"


class Assembler:
    """Turns audit records into events; `feed` each record, `flush` now and then, `finish` at the end.

    Args:
        own_key: the key of our own rules; what changes them is no event.
        own_pids: processes that are not reported (the agent itself).
        fold: join consecutive calls of one process that carry no argument into one `calls` event.
        start_of: gives a process's `start` from its pid and the time of its first event.
        processes: a table that others fill too (who was born, who died); then `start_of` is its own.
    """

    def __init__(
        self,
        own_key: str = OWN_KEY,
        *,
        own_pids: Collection[int] = (),
        fold: bool = False,
        start_of: StartOf = start_at_first_event,
        processes: ProcessTable | None = None,
    ) -> None:
        self.report = ReadReport()
        self.processes = ProcessTable(start_of) if processes is None else processes
        self._own_key = own_key
        self._own_pids = frozenset(own_pids)
        self._folding = fold
        self._fold = Fold()
        self._pending = PendingRecords()
        self._out: list[Event] = []
        self._stamp = ""
        self._last_head: Head | None = None

    def feed(self, kind: int | str, text: str | bytes, received_ns: int) -> list[Event]:
        """Take one record and return the events that are complete now, in the order of their ends.

        Args:
            kind: the record's type, as a number (netlink) or a name (`SYSCALL`, `UNKNOWN[1329]`).
            text: the record without its type: `audit(1700000000.123:42): arch=…`.
            received_ns: when it was received, on any clock that goes on; what waited 2 s is handed out.
        """
        self.report.lines += 1
        if isinstance(text, bytes):
            text = text[: 4 * MAX_RECORD_CHARS].decode("utf-8", "replace")
        number = kind if isinstance(kind, int) else type_number(kind)
        if number in _UNUSED:
            self.report.without_event["part of a call"] += 1
            return []
        self._take_record(number, text[:MAX_RECORD_CHARS].rstrip("\0\r\n"), received_ns)
        if number in (_EOE, _SYSCALL) or self._pending.is_full:
            for waiting in self._pending.take_due(received_ns):
                self._complete(waiting)
        return self._take()

    def flush(self, now_ns: int) -> list[Event]:
        """Return the events whose records have waited 2 s for an end that did not come."""
        for waiting in self._pending.take_due(now_ns):
            self._complete(waiting)
        if not len(self._pending):
            self._fold.close_into(self._out)
        return self._take()

    def finish(self) -> list[Event]:
        """Return everything that still waits: the log or the watch is over."""
        for waiting in self._pending.take_all():
            self._complete(waiting)
        self._fold.close_into(self._out)
        return self._take()

    @property
    def waiting(self) -> int:
        """Calls whose records are not complete."""
        return len(self._pending)

    def _take(self) -> list[Event]:
        if not self._out:
            return []
        out, self._out = self._out, []
        self.report.events += len(out)
        return out

    def _take_record(self, kind: int, text: str, received_ns: int) -> None:
        head = self._head(text)
        if head is None:
            self.report.keep(text)
            return
        serial = (head.ns, head.serial)
        if kind == _EOE:
            self.report.without_event["end of a call"] += 1
            waiting = self._pending.take(serial)
            if waiting is not None:
                self._complete(waiting)
        elif kind not in _PARTS:
            self.report.without_event[_unread(kind)] += 1
        elif not self._pending.add(
            serial, head.ns, received_ns, (kind, text[head.rest_at :]), is_call=kind == _SYSCALL
        ):
            self.report.without_event["more of a call than is kept"] += 1

    def _head(self, text: str) -> Head | None:
        """Read a record's head; the records of one call come with the same one, which is read once."""
        stamp = text[: text.find(")", 0, MAX_HEAD_CHARS) + 1]
        if stamp and stamp == self._stamp:
            return self._last_head
        head = read_head(text)
        if head is not None:
            self._stamp, self._last_head = stamp, head
        return head

    def _complete(self, waiting: Waiting) -> None:
        extra = len(waiting.records) - waiting.has_call
        if not waiting.has_call:
            changes = sum(kind == _CONFIG_CHANGE for kind, _ in waiting.records)
            self._count("change of audit rules", changes)
            self._count("part without its call", extra - changes)
            return
        self._count("part of a call", extra)
        call = read_call(waiting.ns, waiting.records)
        if call is None:
            self.report.keep(next(text for kind, text in waiting.records if kind == _SYSCALL))
        elif call.pid in self._own_pids or self._changes_own_rules(waiting):
            self._count("our own", 1)
        else:
            self._tell(call)

    def _count(self, what: str, number: int) -> None:
        if number > 0:
            self.report.without_event[what] += number

    def _changes_own_rules(self, waiting: Waiting) -> bool:
        return any(
            kind == _CONFIG_CHANGE and decode(read_fields(text).get("key")) == self._own_key
            for kind, text in waiting.records
        )

    # -- events -------------------------------------------------------------------------------------------

    def _tell(self, call: AuditCall) -> None:
        process = self._process(call)
        if call.name == _EXITS:
            self._exit(process, call)
        elif call.name in FORK_CALLS:
            self._forked(process, call)
        elif call.name in EXEC_CALLS:
            self._executed(process, call)
        elif is_worth_keeping(call):
            kept = read_arguments(call, process)
            follow(process, call)
            self._emit(self._event("call", process, call), call, kept)
        else:
            follow(process, call)
            self._plain(process, call)

    def _plain(self, process: Process, call: AuditCall) -> None:
        self.report.calls += 1
        if not self._folding:
            self._out.append(_put_call(self._event("call", process, call), call, {}))
        elif not self._knows_program(process, call) or not self._fold.join(
            process, process.pid, call.ns, call.name
        ):
            self._fold.close_into(self._out)
            self._fold.begin(self._event("calls", process, call), call.name)

    def _emit(self, event: Event, call: AuditCall, kept: dict[str, Any]) -> None:
        self._fold.close_into(self._out)
        self.report.calls += 1
        self._out.append(_put_call(event, call, kept))

    def _event(self, kind: str, process: Process, call: AuditCall) -> Event:
        event: Event = {"kind": kind, "timestamp": call.ns, "pid": process.pid, "start": process.start}
        if process.ppid is not None and not process.named_parent:
            event["ppid"] = process.ppid
            process.named_parent = True
        if call.exe is not None and (kind == "exec" or not self._knows_program(process, call)):
            event["exe"] = call.exe if kind == "exec" else _program(call.exe)
            process.program = hash(_program(call.exe))
        return event

    def _knows_program(self, process: Process, call: AuditCall) -> bool:
        """Tell whether the process's program has been told: it is told when it is new or another one."""
        return call.exe is None or process.program == hash(_program(call.exe))

    def _process(self, call: AuditCall) -> Process:
        """Return the process of a call; a stranger is a child of its parent, where that is known."""
        process = self.processes.find(call.pid)
        if process is not None and not self._is_another(process, call):
            return process
        parent = self.processes.find(call.ppid) if call.ppid is not None else None
        new = self.processes.add(call.pid, call.ns, None if parent is None or parent.exited else parent)
        new.program = 0
        new.ppid = call.ppid
        new.orphan = True
        return new

    def _is_another(self, process: Process, call: AuditCall) -> bool:
        """Tell whether a pid has a new owner: after an exit, or when parent and program both changed unseen."""
        same_parent = call.ppid is None or process.ppid in (None, call.ppid)
        if process.exited:
            late = abs(call.ns - process.exited_ns) < WAIT_NS
            return not (late and same_parent and self._knows_program(process, call))
        if same_parent or call.ppid == 1 or call.name in EXEC_CALLS or not process.program:
            return False
        return not self._knows_program(process, call)

    def _executed(self, process: Process, call: AuditCall) -> None:
        kept = read_arguments(call, process)
        if call.failed or not call.ended:
            self._emit(self._event("call", process, call), call, kept)
            return
        event = self._event("exec", process, call)
        event.setdefault("exe", kept.get("path2") or kept.get("path") or "")
        if not event["exe"]:
            del event["exe"]
        close_on_exec(process)
        self._emit(event, call, kept)

    def _forked(self, process: Process, call: AuditCall) -> None:
        """Tell a fork where the records say that a process was born; clone3 has its flags in memory."""
        kept = read_arguments(call, process)
        child_pid = call.ret
        thread = call.name == "clone3" or "CLONE_THREAD" in kept.get("flags", ())
        if (
            thread
            or call.failed
            or child_pid is None
            or not 0 < child_pid <= MAX_PID
            or child_pid == process.pid
        ):
            self._emit(self._event("call", process, call), call, kept)
            return
        event = self._event("fork", process, call)
        child = self.processes.find(child_pid)
        if child is None or child.exited or not child.orphan or child.ppid != process.pid:
            child = self.processes.add(child_pid, call.ns, process)
        child.orphan = False
        event |= {"child_pid": child.pid, "child_start": child.start}
        self._emit(event, call, kept)

    def _exit(self, process: Process, call: AuditCall) -> None:
        if process.exited:
            self._count("end of an exit", 1)
            return
        event = self._event("exit", process, call)
        process.exited, process.exited_ns = True, call.ns
        self._fold.close_into(self._out)
        self._out.append(event | {"syscall": call.name, "code": (call.arg(0) or 0) & 0xFF})


def _program(exe: str) -> str:
    """Return a program's path as rules know it: an upgrade that replaced the file does not rename it."""
    return exe.removesuffix(DELETED) if not exe.startswith("/memfd:") else exe


def _put_call(event: Event, call: AuditCall, kept: dict[str, Any]) -> Event:
    event["syscall"] = call.name
    if kept:
        event["args"] = kept
    if call.ret is not None:
        event["ret"] = call.ret
    if call.errno is not None:
        event["errno"] = call.errno
    return event


def _unread(kind: int) -> str:
    """Name a record that makes no event: what user space writes, what io_uring did, all others."""
    if kind == _LOGIN or 1100 <= kind < 1300 or 2100 <= kind < 3000:  # noqa: PLR2004 -- ranges of linux/audit.h
        return "record of user space"
    return "call of io_uring" if kind == _URINGOP else "other record"
