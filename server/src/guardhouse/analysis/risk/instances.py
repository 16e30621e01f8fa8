"""Which process an event belongs to: instances of one agent by boot, pid and start, and who begot whom.

Invariants: with a `start` the instance is (boot, pid, start); without one a new instance begins after an
exit, after a fork that returned the pid, at a new boot and after 6 h of silence; nothing depends on what is
in memory, as long as the keys asked for by `needed` were loaded before.
"""

from collections.abc import Iterable
from typing import NamedTuple

from guardhouse.analysis.risk.event import PROCESS_GONE_US, SILENCE_US, ProcessKey, RiskEvent
from guardhouse.analysis.risk.process import CHILD_OF_LISTENER, IN_CONTAINER, LISTENS, Process
from guardhouse.analysis.risk.rules import RuleSet


class Stub(NamedTuple):
    """A live process that is stored but not in memory."""

    key: ProcessKey
    parent: ProcessKey | None
    root: ProcessKey
    last_us: int


class ProcessNotLoadedError(LookupError):
    """An event came for a process that was evicted and not loaded again."""


class Instances:
    """All processes of one agent that are in memory, and stubs of those that are only stored."""

    __slots__ = ("asked", "boots", "generation", "partial", "rules", "states", "stubs")

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.states: dict[ProcessKey, Process] = {}
        self.boots: dict[str, dict[int, Process]] = {}
        self.stubs: dict[tuple[str, int], Stub] = {}
        self.generation = 0
        self.partial = False
        self.asked: set[ProcessKey] = set()

    def find(self, event: RiskEvent, pid: int, start: int | None, clock_us: int) -> Process | None:
        """The instance an event of `pid` belongs to, None when a new one begins."""
        current = self.boots.get(event.boot_id, {}).get(pid)
        if start is not None:
            if current is not None and current.start == start:
                return current
            key = ProcessKey(event.boot_id, pid, start, 0)
            found = self.states.get(key)
            if found is None and self.stubs:
                self._refuse_stub(event.boot_id, pid, key)
            return found
        if current is None:
            if self.stubs:
                self._refuse_stub(event.boot_id, pid, None)
            return None
        if current.exited_us is not None:
            ended = event.late or event.kind == "exit"
            return current if ended and clock_us - current.exited_us <= PROCESS_GONE_US else None
        return None if clock_us - current.last_us > SILENCE_US else current

    def _refuse_stub(self, boot_id: str, pid: int, key: ProcessKey | None) -> None:
        stub = self.stubs.get((boot_id, pid))
        if stub is not None and key in (None, stub.key):
            raise ProcessNotLoadedError(
                f"{stub.key} is stored; load what `needed_keys` names before its events"
            )

    def placeholder(self, event: RiskEvent, pid: int, clock_us: int) -> Process | None:
        """The unused instance that a fork without the child's start left for the process this event begins.

        He unused instance that a fork without the child's start left for the process this event begins.
        """
        if event.start is None:
            return None
        stub = self.stubs.get((event.boot_id, pid))
        if stub is not None and stub.key.start < 0:
            self._refuse_stub(event.boot_id, pid, None)
        current = self.boots.get(event.boot_id, {}).get(pid)
        if current is None or current.start is not None or current.exited_us is not None:
            return None
        unused = current.calls == 0 and current.others == 0
        return current if unused and clock_us - current.last_us <= SILENCE_US else None

    def begin(self, event: RiskEvent, pid: int, start: int | None, now_us: int) -> Process:
        """A new instance, from now on the current one of its pid."""
        if start is None:
            self.generation += 1
            key = ProcessKey(event.boot_id, pid, -1, self.generation)
        else:
            key = ProcessKey(event.boot_id, pid, start, 0)
        process = Process(key, event.position, now_us, event.alphabet)
        self.states[key] = process
        pids = self.boots.setdefault(event.boot_id, {})
        pids[pid] = process
        self.stubs.pop((event.boot_id, pid), None)
        return process

    def link(self, child: Process, parent: Process, now_us: int) -> int:
        """Make `child` the child of `parent`: half its evidence, its flags, its tree.

        How many slots came along.
        """
        child.parent = parent.key
        child.exe = parent.exe
        child.comm = parent.comm
        child.uid = parent.uid
        child.flags = parent.flags & ~LISTENS
        if parent.flags & LISTENS:
            child.flags |= CHILD_OF_LISTENER
        child.profile = parent.profile if parent.alphabet == child.alphabet else None
        child.fds = None if parent.fds is None else dict(parent.fds)
        child.marks = None if parent.marks is None else dict(parent.marks)
        if self.rules.containers.names_program(parent.exe):
            child.flags |= IN_CONTAINER
        if not self.rules.boundary.is_boundary(parent.key.pid, parent.exe):
            child.root = parent.root
        if parent.slots is None:
            return 0
        inherited = [slot.halved(now_us) for slot in parent.slots]
        child.slots = [slot for slot in inherited if slot is not None] or None
        return 0 if child.slots is None else len(child.slots)

    def parent_of(self, process: Process) -> Process | None:
        """The parent that acts of scope `parent` are credited to; None outside the tree or unknown."""
        if process.parent is None or process.root == process.key:
            return None
        return self.states.get(process.parent)

    def put(self, process: Process) -> None:
        """Take a loaded process into memory.

        At start the newest of a pid becomes the current one. A process loaded because events asked for it
        becomes current only when it was evicted as such: another instance may have come and gone in
        between.
        """
        key = process.key
        self.states[key] = process
        self.generation = max(self.generation, key.generation)
        place = (key.boot_id, key.pid)
        stub = self.stubs.get(place)
        returned = stub is not None and stub.key == key
        if returned:
            del self.stubs[place]
        elif key in self.asked:
            return
        pids = self.boots.setdefault(key.boot_id, {})
        old = pids.get(key.pid)
        if old is None or process.first_position > old.first_position:
            pids[key.pid] = process

    def find_parent(self, boot_id: str, pid: int, start: int | None, clock_us: int) -> Process | None:
        """The process that an event names as its parent, by its start where the event says that.

        None when it ended 10 min ago or fell silent for 6 h.
        """
        found = self.boots.get(boot_id, {}).get(pid)
        if start is not None and (found is None or found.start != start):
            key = ProcessKey(boot_id, pid, start, 0)
            found = self.states.get(key)
            if found is None:
                if self.stubs:
                    self._refuse_stub(boot_id, pid, key)
                return None
        if found is None:
            if self.stubs:
                self._refuse_stub(boot_id, pid, None)
            return None
        if found.exited_us is not None and clock_us - found.exited_us > PROCESS_GONE_US:
            return None
        return None if clock_us - found.last_us > SILENCE_US else found

    def needed(self, events: Iterable[RiskEvent]) -> list[ProcessKey]:
        """Keys to load, where they exist, before these events are applied; ask again after loading."""
        if not self.partial:
            return []
        keys: dict[ProcessKey, None] = {}
        for event in events:
            for pid, start in (
                (event.pid, event.start),
                (event.ppid, event.parent_start),
                (event.child_pid, event.child_start),
            ):
                if pid is not None:
                    self._need(event.boot_id, pid, start, keys)
        self.asked.update(keys)
        return list(keys)

    def _need(self, boot_id: str, pid: int, start: int | None, keys: dict[ProcessKey, None]) -> None:
        current = self.boots.get(boot_id, {}).get(pid)
        stub = self.stubs.get((boot_id, pid))
        if start is not None:
            key = ProcessKey(boot_id, pid, start, 0)
            known = self.states.get(key)
            if known is None and (stub is None or stub.key != key):
                keys[key] = None
            # else the pid's instance of unknown start, which may be this one's place kept by a fork
            current = known or (current if current is not None and current.start is None else None)
            stub = stub if stub is not None and stub.key in (key, stub.key._replace(start=-1)) else None
        if stub is not None:
            keys[stub.key] = None
            wanted = (stub.parent, stub.root)
        elif current is not None:
            wanted = (current.parent, current.root)
        else:
            return
        for key_or_none in wanted:
            if key_or_none is not None and key_or_none not in self.states:
                keys[key_or_none] = None

    def evict(self, clock_us: int, max_live: int) -> list[ProcessKey]:
        """Drop from memory what exited 10 min ago and, past `max_live`, the least recently used.

        Kept whatever the count: unsaved state, parents and roots of what stays, processes and trees that
        are about to cool or to rest. Dropped live processes leave a stub.
        """
        self.asked.clear()  # what was asked for has been loaded, or is not stored
        order = sorted(self.states.values(), key=lambda process: (process.last_us, process.key))
        pinned: dict[ProcessKey, int] = {}
        for process in order:
            for key in {process.parent, process.root} - {None, process.key}:
                if key is not None:
                    pinned[key] = pinned.get(key, 0) + 1
        dropped: list[ProcessKey] = []
        live = len(order)
        for process in order:
            gone = process.exited_us is not None and clock_us - process.exited_us > PROCESS_GONE_US
            if not gone and live <= max_live:
                continue
            if process.dirty or process.hot or pinned.get(process.key):
                continue
            self._drop(process, gone=gone)
            for key in {process.parent, process.root} - {None, process.key}:
                if key is not None:
                    pinned[key] -= 1
            dropped.append(process.key)
            live -= 1
        silent = [
            place
            for place, stub in self.stubs.items()
            if stub.key.start < 0 and clock_us - stub.last_us > SILENCE_US
        ]
        for place in silent:
            del self.stubs[place]
        return dropped

    def _drop(self, process: Process, *, gone: bool) -> None:
        key = process.key
        del self.states[key]
        self.partial = True
        pids = self.boots[key.boot_id]
        if pids.get(key.pid) is process:
            del pids[key.pid]
            if not gone:
                stub = Stub(key, process.parent, process.root, process.last_us)
                self.stubs[(key.boot_id, key.pid)] = stub
