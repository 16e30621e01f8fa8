"""Turn what our bpftrace program prints into events: runs of calls per thread, forks, execs, exits.

`timestamp` comes from the kernel's clock; the `T` lines tell how far it is from the wall clock. A new thread
and a new process look alike in the kernel's fork event: the first call of the newborn tells which it is.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from guard_agent.watch.alphabet import EXEC_CALLS, FORK_CALLS
from guard_agent.watch.audit_calls import call_table
from guard_agent.watch.audit_set import machine_abis
from guard_agent.watch.fold import FOLD_NS, MAX_FOLDED
from guard_agent.watch.processes import Process, ProcessTable, StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport

MAX_NEWBORN: Final = 4_096
_LOST_WORDS: Final = 3
_SIGNAL_BITS: Final = 0x7F
_SIGNAL_BASE: Final = 128
_NAMED: Final = frozenset("FESX")

Event = dict[str, Any]


class DeepReader:
    """Reads the lines of one bpftrace; `lost` counts what it could not hand over.

    Args:
        start_of: gives a process's `start` from its pid and the time of its first event.
        exe_of: gives the program of a pid, None when it is gone.
        machine: whose call numbers these are; default: this machine's.
        wall_ns: the wall clock.
        root: the process whose end is the end of the watch.
    """

    def __init__(
        self,
        start_of: StartOf = start_at_first_event,
        exe_of: Callable[[int], str | None] = lambda _pid: None,
        machine: str | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        root: int | None = None,
    ) -> None:
        self._root = root
        self.root_ended = False
        names = [abi.name for abi in machine_abis(machine)]
        self._names, self._names_32 = call_table(names[0]), call_table(names[-1])
        self._exe_of, self._wall_ns = exe_of, wall_ns
        self.processes = ProcessTable(start_of)
        self.report = ReadReport()
        self.lost = 0
        self._ahead_ns: int | None = None
        self._runs: dict[int, Event] = {}
        self._newborn: dict[int, tuple[int, int, int, str | None]] = {}
        self._out: list[Event] = []

    def feed(self, lines: list[str]) -> list[Event]:
        """Read lines; return the events they complete."""
        for line in lines:
            self.report.lines += 1
            if not self._read(line) and line:
                self.report.keep(line)
        return self._take()

    def flush(self) -> list[Event]:
        """Return the open runs."""
        for run in self._runs.values():
            self._out.append(run)
        self._runs.clear()
        return self._take()

    def _take(self) -> list[Event]:
        out, self._out = self._out, []
        self.report.events += len(out)
        return out

    def _read(self, line: str) -> bool:
        words = line.split(" ", 4)
        try:
            if words[0] == "T":
                self._tick(int(words[1]))
            elif words[0] == "Lost" and len(words) == _LOST_WORDS:
                self.lost += int(words[1])
            elif words[0] in _NAMED:
                pid, tid, ns = int(words[1]), int(words[2]), self._wall(int(words[3]))
                self._apply(words[0], pid, tid, ns, words[4])
            else:
                return line.startswith(("Attaching ", "@"))
        except (ValueError, IndexError):
            return False
        return True

    def _apply(self, what: str, pid: int, tid: int, ns: int, rest: str) -> None:
        if what == "S":
            number, compat = rest.split(" ")
            self._called(pid, tid, ns, int(number), compat=compat != "0")
        elif what == "F":
            child = int(rest)
            if len(self._newborn) >= MAX_NEWBORN:
                del self._newborn[next(iter(self._newborn))]
            self._newborn[child] = (pid, tid, ns, self._take_last(tid, FORK_CALLS))
        elif what == "E":
            self._executed(self._process(pid, tid, ns), tid, ns, rest)
        else:
            self._ended(pid, tid, ns, int(rest))

    def _tick(self, ns: int) -> None:
        """Take the smallest distance seen: a line can only come late."""
        ahead = self._wall_ns() - ns
        if self._ahead_ns is None or ahead < self._ahead_ns or ahead - self._ahead_ns > FOLD_NS:
            self._ahead_ns = ahead

    def _wall(self, ns: int) -> int:
        if self._ahead_ns is None:
            self._tick(ns)
        return ns + (self._ahead_ns or 0)

    def _called(self, pid: int, tid: int, ns: int, number: int, *, compat: bool) -> None:
        names = self._names_32 if compat else self._names
        name = names.get(number) or f"call_{number}" if number >= 0 else "call_none"
        process = self._process(pid, tid, ns)
        self.report.calls += 1
        run = self._runs.get(tid)
        if run is not None:
            if len(run["names"]) < MAX_FOLDED and ns - run["timestamp"] < FOLD_NS:
                run["names"].append(name)
                return
            self._out.append(self._runs.pop(tid))
        self._runs[tid] = self._event("calls", process, tid, ns) | {"names": [name]}

    def _executed(self, process: Process, tid: int, ns: int, path: str) -> None:
        name = self._take_last(tid, EXEC_CALLS) or "execve"
        self._close_runs(process)
        event = self._event("exec", process, tid, ns)
        event["exe"] = self._exe_of(process.pid) or path
        event |= {"syscall": name, "args": {"path": path}, "ret": 0}
        self._out.append(event)

    def _ended(self, pid: int, tid: int, ns: int, status: int) -> None:
        self._newborn.pop(tid, None)
        process = self.processes.find(tid)
        if tid != pid or process is None:
            run = self._runs.pop(tid, None)
            if run is not None:
                self._out.append(run)
            if process is not None:
                self.processes.remove_thread(tid, process)
            return
        self._close_runs(process)
        self.root_ended = self.root_ended or pid == self._root
        event = self._event("exit", process, tid, ns)
        number = status & _SIGNAL_BITS
        event["code"] = _SIGNAL_BASE + number if number else status >> 8 & 0xFF
        self._out.append(event)
        self.processes.remove(process)

    def _take_last(self, tid: int, names: frozenset[str]) -> str | None:
        """Take the last call out of a thread's run when it is the one that an event of its own tells."""
        run = self._runs.get(tid)
        if run is None or run["names"][-1] not in names:
            return None
        name: str = run["names"].pop()
        if not run["names"]:
            del self._runs[tid]
        return name

    def _close_runs(self, process: Process) -> None:
        for tid in process.threads:
            run = self._runs.pop(tid, None)
            if run is not None:
                self._out.append(run)

    def _process(self, pid: int, tid: int, ns: int) -> Process:
        process = self.processes.find(tid)
        if process is not None and process.pid == pid:
            return process
        if tid != pid:
            return self._adopt_thread(pid, tid, ns)
        born = self._newborn.pop(pid, None)
        if born is None:
            process = self.processes.add(pid, ns)
            exe = self._exe_of(pid)
            if exe is not None:
                event = self._event("inventory", process, pid, ns)
                self._out.append(event | {"exe": exe})
            return process
        parent_pid, parent_tid, born_ns, name = born
        parent = self._process(parent_pid, parent_tid, born_ns)
        run = self._runs.pop(parent_tid, None)
        if run is not None:
            self._out.append(run)
        process = self.processes.add(pid, ns, parent)
        process.named_parent = True
        event = self._event("fork", parent, parent_tid, born_ns)
        if name is not None:
            event["syscall"] = name
        self._out.append(event | {"child_pid": pid, "child_start": process.start})
        return process

    def _adopt_thread(self, pid: int, tid: int, ns: int) -> Process:
        """Enter a thread; the call that made it is a call like others."""
        born = self._newborn.pop(tid, None)
        process = self._process(pid, pid, ns)
        self.processes.add_thread(tid, process)
        if born is not None and born[3] is not None:
            event = self._event("calls", process, born[1], born[2])
            self._out.append(event | {"names": [born[3]]})
        return process

    def _event(self, kind: str, process: Process, tid: int, ns: int) -> Event:
        event: Event = {"kind": kind, "timestamp": ns, "pid": process.pid, "start": process.start}
        if tid != process.pid:
            event["tid"] = tid
        return event
