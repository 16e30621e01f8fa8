"""Watch every system call of some processes with bpftrace, until they have ended or a signal says so."""

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guard_agent.watch import loss as lost
from guard_agent.watch.alphabet import DEEP_ALPHABET
from guard_agent.watch.bpftrace import DeepError, Traced, has_btf, make_program
from guard_agent.watch.cpu_limit import DEFAULT_PERCENT, CpuLimit
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.deep_reader import DeepReader
from guard_agent.watch.deliver import Delivery
from guard_agent.watch.host_watch import GATHER_SECONDS, WAIT_SECONDS, StopSignals
from guard_agent.watch.intake import Intake
from guard_agent.watch.inventory import read_exe, read_stat
from guard_agent.watch.record import start_of
from guard_agent.watch.redact import Redactor

START_SECONDS: Final = 20.0
_FLUSH_SECONDS: Final = 1.0
_CGROUPS: Final = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeepPlan:
    """What to trace, a process with what it starts or a control group, and as whom."""

    credentials: Credentials
    state: Path
    pid: int | None = None
    cgroup: str | None = None
    cpu_percent: float = DEFAULT_PERCENT
    redactor: Redactor = field(default_factory=Redactor)


def family_of(pid: int) -> list[int]:
    """Return a running process and what it has started, and they in turn.

    Raises:
        DeepError: there is no such process, or it is the agent itself.
    """
    if pid == os.getpid() or read_stat(pid) is None:
        raise DeepError(f"there is no process {pid} to watch")
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        stat = read_stat(int(entry.name)) if entry.name.isdecimal() else None
        if stat is not None:
            children.setdefault(stat[1], []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        next_pid = waiting.pop()
        if next_pid not in found and next_pid != os.getpid():
            found.append(next_pid)
            waiting += children.get(next_pid, [])
    return found


def find_cgroup(name: str) -> str:
    """Return the path of a control group (cgroup v2), given as a path or as a name below the root.

    Raises:
        DeepError: there is none.
    """
    candidates = [Path(name)] if name.startswith("/sys/") else [root / name.strip("/") for root in _CGROUPS]
    for path in candidates:
        if (path / "cgroup.procs").exists() and (path / "cgroup.controllers").exists():
            return str(path)
    raise DeepError(f"there is no control group {name} (cgroup v2): `systemd-cgls` shows them")


def watch_deep(plan: DeepPlan, say: Say) -> int:
    """Trace until the process has ended, or a signal; return 0.

    Raises:
        DeepError: bpftrace is missing or does not work here.
        OSError: the state folder cannot be written.
    """
    if plan.pid is not None:
        program = make_program(pids=family_of(plan.pid), btf=has_btf())
        what = f"process {plan.pid} and what it starts"
    else:
        program = make_program(cgroup=find_cgroup(plan.cgroup or ""), btf=has_btf())
        what = f"control group {plan.cgroup}"
    stop = StopSignals()
    with stop.caught():
        traced = Traced(program)
        try:
            first = traced.wait_until_tracing(START_SECONDS)
            say(f"watching every system call of {what} (bpftrace); Ctrl-C or SIGTERM ends it")
            delivery = Delivery(plan.credentials, plan.state, DEEP_ALPHABET, say)
        except BaseException:
            traced.stop()
            raise
        watch = DeepWatch(plan, traced, delivery, say)
        try:
            watch.take(first)
            delivery.start()
            watch.run(stop)
        finally:
            watch.close()
            delivery.stop(watch.processes)
    return 0


class DeepWatch:
    """A running bpftrace and the loop over what it prints."""

    def __init__(self, plan: DeepPlan, traced: Traced, delivery: Delivery, say: Say) -> None:
        self._traced = traced
        self._reader = DeepReader(start_of, read_exe, root=plan.pid)
        self._intake = Intake(delivery.spool, plan.redactor, CpuLimit(plan.cpu_percent), say)
        self._lost = 0

    @property
    def processes(self) -> int:
        """Return how many processes were seen."""
        return self._reader.processes.seen

    def take(self, lines: list[str]) -> None:
        """Take lines of bpftrace."""
        self._intake.take(self._reader.feed(lines))

    def run(self, stop: StopSignals) -> None:
        """Read until the process has ended, bpftrace has, or a signal came."""
        flushed_at = time.monotonic()
        while not (self._traced.ended or stop.asked or self._reader.root_ended):
            if select.select([self._traced], [], [], WAIT_SECONDS)[0]:
                time.sleep(GATHER_SECONDS)
                self.take(self._traced.read())
            if time.monotonic() - flushed_at >= _FLUSH_SECONDS:
                flushed_at = time.monotonic()
                self._hand_over()

    def close(self) -> None:
        """End bpftrace and hand over what it still had."""
        self.take(self._traced.stop())
        self._hand_over()

    def _hand_over(self) -> None:
        self._intake.take(self._reader.flush())
        self._intake.count_lost(lost.BPFTRACE, self._reader.lost - self._lost)
        self._lost = self._reader.lost
