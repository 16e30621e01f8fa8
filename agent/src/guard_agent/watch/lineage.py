"""Join what two witnesses say into one story: audit knows what was called, the connector who was born and died.

Order kept: a fork comes after what its parent did before it (what the child inherits) and before anything the
child does; an exit after everything its process did. The two sockets know nothing of each other, so what the
connector said is held for a moment, and a fork is told at the latest when the child's first call is.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from guard_agent.watch.inventory import read_exe, read_stat
from guard_agent.watch.proc_connector import EXEC, EXIT, FORK, UID, ProcessEvent
from guard_agent.watch.processes import Process, ProcessTable, StartOf

HOLD_SECONDS: Final = 0.3
MOST_HOLD_SECONDS: Final = 10.0
MAX_HELD: Final = 65_536
MAX_DEAD: Final = 1_024
TICK_NS: Final = 10_000_000  # the kernel shows starts in 100ths of a second, whatever its own tick is
_SIGNAL_BITS: Final = 0x7F
_SIGNAL_BASE: Final = 128
_SIGNAL_NAMES: Final = {int(item): item.name for item in signal.Signals}

Event = dict[str, Any]


class Clocks:
    """How far the monotonic clock of the connector is behind the wall clock and the boot clock, in ns."""

    def __init__(self) -> None:
        self.wall_ahead_ns = self.boot_ahead_ns = 0
        self.read()

    def read(self) -> None:
        """Compare the clocks anew: the wall clock may have been set."""
        now = time.monotonic_ns()
        self.wall_ahead_ns = time.time_ns() - now
        self.boot_ahead_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now


class HostProcesses(ProcessTable):
    """The processes of this host; asked for one whose fork is still held, it has the fork told first."""

    def __init__(self, start_of: StartOf, bear: Callable[[int], None]) -> None:
        super().__init__(start_of)
        self.unborn: dict[int, _Held] = {}
        self._bear = bear

    def find(self, tid: int) -> Process | None:
        """Return the process that owns thread `tid`."""
        if tid in self.unborn:
            self._bear(tid)
        return super().find(tid)


@dataclass(slots=True)
class _Held:
    """Something the connector said: `at` when it was read (monotonic s).

    `start` of a child that was born; `program`, exe and comm, where only a look at once can find it.
    """

    at: float
    message: ProcessEvent
    start: int = 0
    program: tuple[str, str] | None = None


class Lineage:
    """The processes of this host, as both witnesses tell it. `table` is shared with who reads the records.

    `own_pid` and what it starts never become events. With `calls_are_audited` an exec is told by audit, which
    knows its arguments, and the connector's word is a fallback; otherwise the connector's word is all there is.
    """

    def __init__(
        self,
        own_pid: int,
        *,
        calls_are_audited: bool,
        hold_seconds: float = HOLD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clocks = Clocks()
        self.table = HostProcesses(self._start_of, self._bear)
        self.without_exe = 0
        self._audited = calls_are_audited
        self._hold = hold_seconds
        self._monotonic = monotonic
        self._own = {own_pid}
        self._held: deque[_Held] = deque()
        self._children: dict[int, list[int]] = {}
        self._execs: dict[int, int] = {}
        self._dead: deque[Process] = deque()
        self._starts: dict[int, int] = {}
        self._told: list[Event] = []

    def seed(self, event: Event) -> None:
        """Learn a process of the inventory."""
        self._starts[event["pid"]] = event["start"]
        process = self.table.add(event["pid"], event["timestamp"])
        process.ppid, process.named_parent = event.get("ppid"), True

    def hear(self, messages: Iterable[ProcessEvent]) -> None:
        """Take what the connector said; `merge` and `due` tell it when its time has come."""
        now = self._monotonic()
        for message in messages:
            what = message.what
            if what == FORK:
                self._hear_fork(now, message)
            elif what in (EXIT, EXEC, UID) and not self._is_own(message):
                if what == EXEC and self._audited:
                    self._execs[message.pid] = self._execs.get(message.pid, 0) + 1
                if what != EXIT or message.tid == message.pid:
                    program = _look(message.pid) if what == EXEC and not self._audited else None
                    self._held.append(_Held(now, message, program=program))

    def merge(self, events: list[Event]) -> list[Event]:
        """Return audited events with the forks that come before them."""
        for event in events:
            pid, kind = event.get("pid"), event.get("kind")
            if kind == "exec" and pid is not None:
                self._execs.pop(pid, None)
            for child in tuple(self._children.get(pid, ())) if pid is not None else ():
                held = self.table.unborn.get(child)
                if held is not None and self._wall(held.message.ns) < event["timestamp"]:
                    self._bear(child)
            self._told.append(event)
        return self._take()

    def due(self, *, drained: bool) -> list[Event]:
        """Return what was held long enough; `drained`: audit has just been read empty."""
        now = self._monotonic()
        patience = self._hold if drained else max(self._hold, MOST_HOLD_SECONDS)
        while self._held and (now - self._held[0].at >= patience or len(self._held) > MAX_HELD):
            self._release(self._held.popleft())
        return self._take()

    def finish(self) -> list[Event]:
        """Return all that is still held."""
        while self._held:
            self._release(self._held.popleft())
        return self._take()

    def _take(self) -> list[Event]:
        told, self._told = self._told, []
        return told

    def _is_own(self, message: ProcessEvent) -> bool:
        if message.pid not in self._own:
            return False
        if message.what == EXIT and message.tid == message.pid:
            self._own.discard(message.pid)
        return True

    def _hear_fork(self, now: float, message: ProcessEvent) -> None:
        child_tid, child = message.numbers
        if child_tid != child:
            return  # a thread
        if message.pid in self._own:
            self._own.add(child)
            return
        self._own.discard(child)
        while child in self.table.unborn or self._is_dying(child):
            self._release(self._held.popleft())  # the pid is used again: first the end of its last owner
        held = _Held(now, message, self._start_of(child, self._wall(message.ns)))
        self.table.unborn[child] = held
        self._children.setdefault(message.pid, []).append(child)
        self._held.append(held)

    def _is_dying(self, pid: int) -> bool:
        process = ProcessTable.find(self.table, pid)
        return (
            process is not None
            and not process.exited
            and any(held.message.what == EXIT and held.message.pid == pid for held in self._held)
        )

    def _release(self, held: _Held) -> None:
        message = held.message
        if message.what == FORK:
            if self.table.unborn.get(message.numbers[1]) is held:
                self._bear(message.numbers[1])
        elif message.what == EXIT:
            self._tell_exit(message)
        elif message.what == EXEC:
            if not self._audited or self._execs.pop(message.pid, 0):
                self._tell_exec(message, held.program or _look(message.pid))
        elif not self._audited:
            event = self._event("call", self._process(message), message)
            self._told.append(event | {"syscall": "setresuid", "args": {"uid": message.numbers[1]}, "ret": 0})

    def _bear(self, child: int) -> None:
        """Tell a fork, the parent's own first, and enter the child."""
        held = self.table.unborn.pop(child)
        message = held.message
        siblings = self._children.get(message.pid, [])
        if child in siblings:
            siblings.remove(child)
        if not siblings:
            self._children.pop(message.pid, None)
        parent = self._process(message)
        self._starts[child] = held.start
        process = self.table.add(child, self._wall(message.ns), parent)
        process.named_parent = True
        event = self._event("fork", parent, message)
        self._told.append(event | {"child_pid": child, "child_start": process.start})

    def _tell_exit(self, message: ProcessEvent) -> None:
        process = self._process(message)
        if process.exited:
            return
        process.exited, process.exited_ns = True, self._wall(message.ns)
        event = self._event("exit", process, message)
        number = message.numbers[0] & _SIGNAL_BITS
        if number:
            event["code"] = _SIGNAL_BASE + number
            event["metadata"] = {"signal": _SIGNAL_NAMES.get(number, f"SIG{number}")}
        else:
            event["code"] = message.numbers[0] >> 8 & 0xFF
        self._told.append(event)
        self._execs.pop(process.pid, None)
        self._dead.append(process)
        if len(self._dead) > MAX_DEAD:
            self.table.remove(self._dead.popleft())

    def _tell_exec(self, message: ProcessEvent, program: tuple[str, str] | None) -> None:
        """Tell an exec from /proc; what has gone by now had no name to tell, and is counted."""
        process = self._process(message)
        if program is None:
            self.without_exe += 1
            return
        event = self._event("exec", process, message)
        self._told.append(event | {"exe": program[0], "comm": program[1], "syscall": "execve", "ret": 0})

    def _process(self, message: ProcessEvent) -> Process:
        process = self.table.find(message.pid)
        if process is None or (process.exited and message.what != EXIT):
            process = self.table.add(message.pid, self._wall(message.ns))
        return process

    def _event(self, kind: str, process: Process, message: ProcessEvent) -> Event:
        event: Event = {
            "kind": kind,
            "timestamp": self._wall(message.ns),
            "pid": process.pid,
            "start": process.start,
        }
        if not process.named_parent and process.ppid is not None:
            process.named_parent = True
            event["ppid"] = process.ppid
        return event

    def _wall(self, ns: int) -> int:
        return ns + self.clocks.wall_ahead_ns

    def _start_of(self, pid: int, ns: int) -> int:
        """Return the start that the kernel shows; of a process that is gone, what it would have shown."""
        known = self._starts.pop(pid, None)
        if known is not None:
            return known
        stat = read_stat(pid)
        if stat is not None:
            return stat[2]
        return max(0, (ns - self.clocks.wall_ahead_ns + self.clocks.boot_ahead_ns) // TICK_NS)


def _look(pid: int) -> tuple[str, str] | None:
    """Return exe and comm of a process, None when it is gone."""
    exe, stat = read_exe(pid), read_stat(pid)
    return None if exe is None or stat is None else (exe, stat[0][:64])
