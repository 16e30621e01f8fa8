"""Start programs that cannot outlive this process, and end processes in bounded time.

On Linux the kernel sends the death signal. Elsewhere a program may survive a killed parent; who starts it
again finds it by its pid and ends it first.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

_BOUND_EXEC = str(Path(__file__).with_name("bound_exec.py"))


@dataclass(frozen=True, slots=True)
class Account:
    """The user a program runs as."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start: a command with absolute program path, its user, environment, folder and output.

    ``descriptors`` stay open in the program under the same numbers (listening sockets).
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    output: IO[bytes] | int = subprocess.DEVNULL
    account: Account | None = None
    death_signal: signal.Signals = signal.SIGTERM
    descriptors: Sequence[int] = ()


def start_bound(launch: Launch) -> subprocess.Popen[bytes]:
    """Start ``launch`` in a session of its own, so that Ctrl+C reaches it only through this process.

    Call it from a thread that lives as long as the program should: the kernel binds a child to the thread
    that started it, not to the process.
    """
    account = launch.account
    return subprocess.Popen(  # noqa: S603 - the command is built by our own code
        [
            sys.executable,
            "-I",
            "-S",
            _BOUND_EXEC,
            str(os.getpid()),
            str(int(launch.death_signal)),
            str(account.uid if account else -1),
            str(account.gid if account else -1),
            *launch.command,
        ],
        stdin=subprocess.DEVNULL,
        stdout=launch.output,
        stderr=subprocess.STDOUT if launch.output != subprocess.DEVNULL else subprocess.DEVNULL,
        env=dict(launch.environment),
        cwd=launch.folder,
        start_new_session=True,
        pass_fds=launch.descriptors,
    )


def wait_gone(process: psutil.Process | subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait up to ``seconds`` for ``process`` to end; True when it is gone (a zombie counts as gone)."""
    deadline = time.monotonic() + seconds
    while is_running(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def is_running(process: psutil.Process | subprocess.Popen[bytes]) -> bool:
    """Tell whether ``process`` still runs; asks a child by reaping it, a stranger by pid and start time."""
    if isinstance(process, subprocess.Popen):
        return process.poll() is None
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_in_steps(
    process: psutil.Process | subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]
) -> signal.Signals | None:
    """Send each signal and wait its seconds until ``process`` is gone; returns the signal that ended it."""
    for number, seconds in steps:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(number)
        if wait_gone(process, seconds):
            return number
    return None


def processes_in(folder: Path, program: str) -> Iterator[psutil.Process]:
    """Yield the running processes of ``program`` that work in ``folder``, as far as this user may see."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.name() == program
                and process.cwd() == str(folder)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                yield process


def pid_exists(pid: int) -> bool:
    """Tell whether any process has this id now; it may be a stranger that got the number again."""
    return bool(psutil.pid_exists(pid))
