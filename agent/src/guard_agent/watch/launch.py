"""Start a command under strace and hand its lines over as they come; the command keeps our standard streams.

strace writes into a FIFO of ours: when we fall behind it waits, so no call is ever lost between the two,
and nothing grows on the disk. The command's own process is signalled, never strace: without its tracer a
program under `--seccomp-bpf` would find its calls failing.
"""

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from guard_agent.watch.alphabet import trace_expression
from guard_agent.watch.understudy import Understudy

PIPE_BYTES: Final = 1024 * 1024
READ_BYTES: Final = 256 * 1024
# A reader that sleeps in select is woken for every line, and strace pays for it: 90 µs a call, not 35.
GATHER_SECONDS: Final = 0.01
_F_SETPIPE_SZ: Final = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_HOW_TO_INSTALL: Final = (
    "install it with `apt install strace` (Debian, Ubuntu), `dnf install strace` (Fedora) or"
    " `pacman -S strace` (Arch)"
)
_FIRST_PID: Final = re.compile(rb"^(\d{1,7}) ")


class StraceMissingError(Exception):
    """There is no usable strace; the message says how to get it."""


def find_strace(environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of strace.

    Raises:
        StraceMissingError: it is not on the PATH.
    """
    found = shutil.which("strace", path=environment.get("PATH"))
    if found is None:
        raise StraceMissingError(f"strace is not installed: {_HOW_TO_INSTALL}")
    return found


def strace_options(strace: str) -> frozenset[str]:
    """Return which of the options that not every version has are known to this strace."""
    try:
        shown = subprocess.run(  # noqa: S603 -- fixed arguments
            [strace, "--help"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(option for option in ("--seccomp-bpf", "--kill-on-exit") if option in shown.stdout)


def strace_command(strace: str, output: Path, command: list[str], *, all_calls: bool) -> list[str]:
    """Return the argv that runs `command` under strace, its lines going to `output`."""
    options = strace_options(strace)
    argv = [strace, "-f", "-q", "-ttt", "-yy", "-s", "256", "-o", str(output)]
    if not all_calls:
        argv += ["-e", f"trace={trace_expression()}"]
        if "--seccomp-bpf" in options:
            argv.append("--seccomp-bpf")
    if "--kill-on-exit" in options:
        argv.append("--kill-on-exit")
    return [*argv, "--", *command]


class Launched:
    """A command that runs under strace.

    Raises:
        StraceMissingError: strace cannot be started.
        OSError: the FIFO cannot be made.
    """

    def __init__(self, command: list[str], folder: Path, *, all_calls: bool) -> None:
        strace = find_strace()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        fifo = self._folder / "lines"
        os.mkfifo(fifo, 0o600)
        self._read_end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # the system's limit may be lower: a smaller pipe works too
            fcntl.fcntl(self._read_end, _F_SETPIPE_SZ, PIPE_BYTES)
        self._understudy = Understudy(fifo)
        try:
            argv = strace_command(strace, fifo, command, all_calls=all_calls)
            self._strace = subprocess.Popen(argv)  # noqa: S603 -- the user's own command
        except OSError as error:
            self._clean()
            raise StraceMissingError(f"strace cannot be started: {error}") from error
        self.pid: int | None = None

    def chunks(self, wait_seconds: float) -> Iterator[list[bytes]]:
        """Yield whole lines in order, an empty list after `wait_seconds` without one, until the end."""
        rest = b""
        while (chunk := self._next_chunk(wait_seconds)) is not None:
            *lines, rest = (rest + chunk).split(b"\n")
            if self.pid is None and lines:
                match = _FIRST_PID.match(lines[0])
                self.pid = int(match.group(1)) if match else None
            yield lines
        if rest:
            yield [rest]

    def _next_chunk(self, wait_seconds: float) -> bytes | None:
        """Return what strace wrote, nothing after a while without a word, None when it has ended."""
        ended = self._strace.poll() is not None
        ready, _, _ = select.select([self._read_end], [], [], 0.0 if ended else wait_seconds)
        chunk = self._read() if ready else b""
        if chunk:
            if len(chunk) < READ_BYTES // 4:
                time.sleep(GATHER_SECONDS)
            return chunk
        if ended:
            return None
        if ready:
            time.sleep(GATHER_SECONDS)  # no writer yet, or strace is on its way out
        return b""

    def _read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self._read_end, READ_BYTES)
        return b""

    def send_signal(self, number: int, pids: list[int]) -> None:
        """Signal the command; with SIGKILL all of `pids`, which are the processes seen."""
        targets = set(pids) if number == signal.SIGKILL else {self.pid} - {None}
        for pid in targets:
            if pid is not None and pid > 1:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def wait(self) -> int:
        """Wait for the end and return the command's exit status, 128 + n when signal n ended it."""
        try:
            code = self._strace.wait()
        finally:
            self._clean()
        return 128 - code if code < 0 else code

    def _clean(self) -> None:
        os.close(self._read_end)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._understudy.dismiss()
