"""Know which thread belongs to which process, who is whose parent, and when each process started.

`start` is one integer per process, constant for its life: what `start_of` says at the first sight of the
pid. Tables are bounded, so that a hostile log cannot fill the memory: beyond the bound the oldest process
is forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PROCESSES = 8_192
MAX_THREADS = 32_768
MAX_MEMFDS = 8
MAX_DIRECTORY_CHARS = 1_024


class Descriptor(NamedTuple):
    """What a descriptor is: `kind` as on the wire (`fd_kind`), the file's path, whether an exec closes it."""

    kind: str
    path: str | None = None
    closes: bool | None = None


StartOf = Callable[[int, int], int]


@dataclass(slots=True)
class Process:
    """One process: `threads` are the ids of its living threads, `memfds` the descriptors of unnamed files.

    Of audit records alone: `descriptors` by number, `program` (hash of the exe told last), `exited_ns`.
    """

    pid: int
    start: int
    ppid: int | None = None
    directory: str | None = None
    exited: bool = False
    orphan: bool = False
    named_parent: bool = False
    threads: set[int] = field(default_factory=set)
    memfds: dict[int, str] = field(default_factory=dict)
    descriptors: dict[int, Descriptor] = field(default_factory=dict)
    program: int = 0
    exited_ns: int = 0


def start_at_first_event(_pid: int, ns: int) -> int:
    """Take the time of the first event, ns since the epoch: the same for every replay of one log."""
    return ns


class ProcessTable:
    """The processes of one log or one watched command, by pid, and the thread ids that are not pids."""

    def __init__(self, start_of: StartOf = start_at_first_event) -> None:
        self._start_of = start_of
        self._by_pid: dict[int, Process] = {}
        self._leader: dict[int, int] = {}
        self.seen = 0

    def find(self, tid: int) -> Process | None:
        """Return the process that owns thread `tid`."""
        return self._by_pid.get(self._leader.get(tid, tid))

    def add(self, pid: int, ns: int, parent: Process | None = None) -> Process:
        """Enter a new process; a dead namesake is replaced."""
        process = Process(pid, max(0, self._start_of(pid, ns)))
        process.threads.add(pid)
        if parent is not None:
            process.ppid = parent.pid
            process.directory = parent.directory
            process.memfds = dict(parent.memfds)
            process.descriptors = dict(parent.descriptors)
            process.program = parent.program
        self._leader.pop(pid, None)
        self._by_pid.pop(pid, None)
        self._by_pid[pid] = process
        self.seen += 1
        if len(self._by_pid) > MAX_PROCESSES:
            oldest = next(iter(self._by_pid))
            self.remove(self._by_pid[oldest])
        return process

    def add_thread(self, tid: int, process: Process) -> None:
        """Enter a thread of a known process."""
        if len(self._leader) < MAX_THREADS:
            process.threads.add(tid)
            self._leader[tid] = process.pid

    def remove_thread(self, tid: int, process: Process) -> None:
        """Forget one thread; the process stays."""
        process.threads.discard(tid)
        if tid != process.pid:
            self._leader.pop(tid, None)

    def remove(self, process: Process) -> None:
        """Forget a process and all its threads."""
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]
        for tid in process.threads:
            self._leader.pop(tid, None)

    def living(self) -> list[int]:
        """Return the pids that were seen and have not exited."""
        return [pid for pid, process in self._by_pid.items() if not process.exited]
