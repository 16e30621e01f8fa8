"""What runs already when the agent starts: one `inventory` event per process, and a `listen` per listening socket.

Everything comes from /proc; a process that goes while we look is left out. Command lines are redacted by the
caller; environments are never read.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.strace_args import cut_argv

MAX_LISTENING: Final = 32
MAX_DESCRIPTORS: Final = 1024
_KERNEL_THREADS: Final = 2
_STATE: Final = 0
_PARENT: Final = 1
_START: Final = 19  # fields of /proc/<pid>/stat, counted behind the closing bracket of the name
_LISTEN: Final = "0A"
_MIN_FIELDS: Final = 10

Event = dict[str, Any]


def read_stat(pid: int, proc: Path = Path("/proc")) -> tuple[str, int, int] | None:
    """Return (comm, parent, start in clock ticks since boot) of a process, None when it is gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:  # noqa: PTH123 -- hot: once per new process
            text = file.read(1024)
        open_at, close_at = text.index(b"("), text.rindex(b")")
        fields = text[close_at + 2 :].split()
        return (
            text[open_at + 1 : close_at].decode("utf-8", "replace"),
            int(fields[_PARENT]),
            int(fields[_START]),
        )
    except (OSError, ValueError, IndexError):
        return None


def read_exe(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return what a process runs, None when it is gone, or is a thread of the kernel."""
    with contextlib.suppress(OSError):
        return os.readlink(f"{proc}/{pid}/exe")  # noqa: PTH115 -- hot: once per new process
    return None


def take_inventory(ns: int | None = None, proc: Path = Path("/proc")) -> Iterator[Event]:
    """Yield an event per running process, parents before children where pids say so, kernel threads left out."""
    at = time.time_ns() if ns is None else ns
    listening = listening_inodes(proc)
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()):
        stat = read_stat(pid, proc)
        if stat is None or pid == os.getpid():
            continue
        comm, parent, start = stat
        if _KERNEL_THREADS in (pid, parent):
            continue
        event: Event = {
            "kind": "inventory",
            "timestamp": at,
            "pid": pid,
            "start": start,
            "ppid": parent,
            "comm": comm[:64],
        }
        exe = read_exe(pid, proc)
        if exe is not None:
            event["exe"] = exe
        argv = _argv(pid, proc)
        if argv:
            event["args"] = {"argv": argv}
        yield event
        for number, name in _listens(pid, proc, listening) if listening else ():
            yield _listen_event(event, number, name)


def _listen_event(event: Event, number: int, name: str) -> Event:
    """Return the `listen` that we came too late for: without it a server that runs already is no server."""
    return {
        "kind": "call",
        "timestamp": event["timestamp"],
        "pid": event["pid"],
        "start": event["start"],
        "syscall": "listen",
        "args": {"fd": number, "fd_kind": "inet6" if name.startswith("tcp6") else "inet"},
        "ret": 0,
        "metadata": {"inventory": name},
    }


def _argv(pid: int, proc: Path) -> list[str]:
    with contextlib.suppress(OSError):
        with (proc / str(pid) / "cmdline").open("rb") as file:
            raw = file.read(4096)
        return cut_argv([part.decode("utf-8", "replace") for part in raw.rstrip(b"\0").split(b"\0") if part])
    return []


def listening_inodes(proc: Path = Path("/proc")) -> dict[str, str]:
    """Return the inet sockets that listen, inode to `tcp:<port>`, from this network namespace's tables."""
    found: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text("ascii", "replace").splitlines()[1:]:
                fields = line.split()
                if len(fields) >= _MIN_FIELDS and fields[3] == _LISTEN:
                    port = fields[1].rsplit(":", 1)[-1]
                    with contextlib.suppress(ValueError):
                        found[fields[9]] = f"{table}:{int(port, 16)}"
    return found


def _listens(pid: int, proc: Path, listening: dict[str, str]) -> list[tuple[int, str]]:
    """Return the descriptors that a process listens on, with port; at most 1,024 of its descriptors are looked at."""
    sockets = []
    with contextlib.suppress(OSError):
        for descriptor in itertools.islice((proc / str(pid) / "fd").iterdir(), MAX_DESCRIPTORS):
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    name = listening.get(target[8:-1])
                    if name is not None:
                        sockets.append((int(descriptor.name), name))
    return sorted(sockets)[:MAX_LISTENING]
