"""Run bpftrace on raw system calls of some processes, and read what it prints: the deep mode.

The program needs tracepoints alone, no kprobes. Each line it prints is one of `S pid tid ns number compat`,
`F pid tid ns child`, `E pid tid ns file`, `X pid tid ns status` and `T ns`; bpftrace itself adds
`Lost n events`. Source of the fields: the kernel's tracepoint formats, `bpftrace(8)`.
"""

import os
import select
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BUFFER_PAGES: Final = 1024
READ_BYTES: Final = 256 * 1024
_TRACING: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_STOP_SECONDS: Final = 5.0
_MOUNT: Final = 'mount -t tracefs nodev /sys/kernel/tracing && exec "$@"'
_COMPAT_BIT: Final = 2  # TS_COMPAT of the kernel's asm/thread_info.h: a 32-bit call on x86-64

_PROGRAM: Final = """
BEGIN {{ {seed} printf("T %lu\\n", nsecs); }}
tracepoint:raw_syscalls:sys_enter /{chosen}/ {{
  printf("S %d %d %lu %d %d\\n", pid, tid, nsecs, args->id, {compat});
}}
tracepoint:sched:sched_process_fork /{chosen}/ {{
  {follow} printf("F %d %d %lu %d\\n", pid, tid, nsecs, args->child_pid);
}}
tracepoint:sched:sched_process_exec /{chosen}/ {{
  printf("E %d %d %lu %s\\n", pid, tid, nsecs, str(args->filename));
}}
tracepoint:sched:sched_process_exit /{chosen}/ {{
  printf("X %d %d %lu %d\\n", pid, tid, nsecs, {status}); {forget}
}}
interval:s:1 {{ printf("T %lu\\n", nsecs); }}
END {{ clear(@chosen); }}
"""


class DeepError(Exception):
    """Deep mode does not work here; the text says why and what to do."""


def find_bpftrace() -> str:
    """Return the path of bpftrace.

    Raises:
        DeepError: it is not installed.
    """
    found = shutil.which("bpftrace")
    if found is None:
        raise DeepError("bpftrace is not installed: `apt install bpftrace`, `dnf install bpftrace`")
    return found


def has_btf() -> bool:
    """Tell whether the kernel describes its own types: without it exit codes and 32-bit calls are not told apart."""
    return _BTF.exists()


def make_program(*, pids: Iterable[int] = (), cgroup: str | None = None, btf: bool = True) -> str:
    """Return the program that traces processes and what they start, or a control group (cgroup v2).

    Raises:
        DeepError: neither or both are given, or the path cannot stand in a program.
    """
    chosen = sorted(pids)
    if bool(chosen) == (cgroup is not None):
        raise DeepError("deep mode traces `--pid` or `--cgroup`: give one of them")
    if cgroup is not None and not (cgroup.isprintable() and '"' not in cgroup and "\\" not in cgroup):
        raise DeepError(f"{cgroup!r} cannot stand in a program of bpftrace")
    by_pid = bool(chosen)
    where = "@chosen[pid]" if by_pid else f'cgroup == cgroupid("{cgroup}")'
    return _PROGRAM.format(
        seed="".join(f"@chosen[{pid}] = 1; " for pid in chosen) or "@chosen[0] = 1;",
        chosen=f'{where} && comm != "bpftrace"',
        follow="@chosen[args->child_pid] = 1;" if by_pid else "",
        forget="delete(@chosen[tid]);" if by_pid else "",
        compat=f"curtask->thread_info.status & {_COMPAT_BIT}"
        if btf and os.uname().machine == "x86_64"
        else "0",
        status="curtask->exit_code" if btf else "0",
    )


def bpftrace_command(program: str) -> list[str]:
    """Return the argv that runs a program; where no tracefs is mounted, bpftrace gets one of its own.

    Raises:
        DeepError: bpftrace, or what mounts the tracefs, is missing.
    """
    argv = [find_bpftrace(), "-B", "line", "-e", program]
    if any((path / "events").is_dir() for path in _TRACING):
        return argv
    unshare, shell = shutil.which("unshare"), shutil.which("sh")
    if unshare is None or shell is None:
        raise DeepError("no tracefs: `mount -t tracefs nodev /sys/kernel/tracing`")
    return [unshare, "--mount", "--propagation", "private", shell, "-c", _MOUNT, "sh", *argv]


class Traced:
    """bpftrace at work. `read` gives its lines; `stop` ends it.

    Raises:
        DeepError: it cannot be started, or ends before it traces, with its own words.
    """

    def __init__(self, program: str, pages: int = BUFFER_PAGES) -> None:
        environment = dict(os.environ)
        for name in ("BPFTRACE_PERF_RB_PAGES", "BPFTRACE_MAX_MAP_KEYS"):
            environment.setdefault(name, str(pages) if name.endswith("PAGES") else "65536")
        try:
            self._child = subprocess.Popen(  # noqa: S603 -- our own program
                bpftrace_command(program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise DeepError(f"bpftrace cannot be started: {error}") from error
        assert self._child.stdout is not None  # noqa: S101 -- PIPE was asked for
        self._out = self._child.stdout.fileno()
        self._rest = b""
        self.ended = False

    @property
    def pid(self) -> int:
        """Return the pid of bpftrace, or of what becomes bpftrace."""
        return self._child.pid

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._out

    def wait_until_tracing(self, seconds: float) -> list[str]:
        """Return the first lines, the first `T` among them.

        Raises:
            DeepError: it ended, or did not begin in time.
        """
        if select.select([self._out], [], [], seconds)[0]:
            lines = self.read()
            while not self.ended and not any(line.startswith("T ") for line in lines):
                if not select.select([self._out], [], [], seconds)[0]:
                    break
                lines += self.read()
            if not self.ended:
                return lines
        why = self._words()
        self.stop()
        raise DeepError(f"bpftrace does not trace here: {why}")

    def read(self) -> list[str]:
        """Return the lines that wait, at most 256 KiB of them; call it when poll says so."""
        data = os.read(self._out, READ_BYTES)
        if not data:
            self.ended = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def stop(self) -> list[str]:
        """End bpftrace and return its last lines."""
        lines: list[str] = []
        self._child.terminate()
        try:
            out, _ = self._child.communicate(timeout=_STOP_SECONDS)
            lines = (self._rest + out).decode("utf-8", "replace").splitlines()
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
        self.ended = True
        return lines

    def _words(self) -> str:
        """Return what bpftrace says about its failure."""
        if self._child.poll() is None:
            self._child.terminate()
        try:
            _, err = self._child.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        words = [line for line in err.decode("utf-8", "replace").splitlines() if "RLIMIT_MEMLOCK" not in line]
        return (words or ["it ended without a word"])[0][:300]
