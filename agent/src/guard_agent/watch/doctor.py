"""Say which collectors work here, why the others do not, and what each costs; then key, server, spool.

Every line is a finding with its remedy. Nothing is changed; the only programs started are strace, on
`true`, and bpftrace, on us.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guard_agent.watch.answer import SKEW_TOLD_FROM_SECONDS, clock_skew_seconds
from guard_agent.watch.credentials import Credentials
from guard_agent.watch.doctor_host import examine_host_collectors
from guard_agent.watch.door import Door, UnreachableError
from guard_agent.watch.finding import FAIL, OK, WARN, Finding
from guard_agent.watch.launch import StraceMissingError, find_strace, strace_options
from guard_agent.watch.outbox import best_coding
from guard_agent.watch.stream import read_stream
from guard_agent.watch.streams import spool_folder

_TRY_SECONDS: Final = 10


def examine_collectors(environment: Mapping[str, str], state: Path) -> list[Finding]:
    """Try every collector."""
    return [
        *examine_host_collectors(state),
        _launch(environment),
        Finding(OK, "import", "reads strace logs (-f -t/-tt/-ttt, -y/-yy, plain or gzip)"),
    ]


def _launch(environment: Mapping[str, str]) -> Finding:
    name = "launch (strace)"
    if sys.platform != "linux":
        return Finding(FAIL, name, f"works on Linux only, this is {sys.platform}")
    try:
        strace = find_strace(environment)
    except StraceMissingError as error:
        return Finding(FAIL, name, str(error))
    why = _try(strace)
    if why is not None:
        return Finding(FAIL, name, why)
    if "--seccomp-bpf" not in strace_options(strace):
        return Finding(
            WARN,
            name,
            "works, but this strace has no --seccomp-bpf: calls outside the set are slowed down as well",
        )
    return Finding(
        OK, name, "works; traced calls cost tens of µs each, others about 5 %; --all-calls about 17 times"
    )


def _try(strace: str) -> str | None:
    """Run `true` under strace; return why it does not work, None when it does."""
    true = shutil.which("true") or "/bin/true"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        try:
            done = subprocess.run(  # noqa: S603 -- fixed arguments
                [strace, "-f", "-q", "-o", str(log), true],
                capture_output=True,
                text=True,
                timeout=_TRY_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"strace does not run: {error}"
        if done.returncode != 0 or not log.exists() or not log.stat().st_size:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return (
                f"strace may not trace here ({last[:200]}): allow ptrace, in a container with"
                " `--cap-add SYS_PTRACE` or a seccomp profile that permits it"
            )
    return None


def examine_server(credentials: Credentials) -> list[Finding]:
    """Ask the server whether it is there, and compare clocks."""
    name = f"server {credentials.server}"
    door = Door(credentials.server)
    try:
        answer = door.request("GET", "/healthz", {}, None, timeout_seconds=5.0)
    except UnreachableError as error:
        return [Finding(FAIL, name, f"cannot be reached: {error}; is it running, is --server right?")]
    finally:
        door.close()
    found = [Finding(OK, name, f"answers ({answer.status})")]
    skew = clock_skew_seconds(answer, time.time())
    if skew is not None and abs(skew) >= SKEW_TOLD_FROM_SECONDS:
        state = FAIL if abs(skew) >= 300 else WARN  # noqa: PLR2004 -- signatures hold for 300 s
        found.append(
            Finding(
                state, "clock", f"the server is {skew:+.0f} s off: signatures hold for 300 s, set the clock"
            )
        )
    return found


def examine_spool(state: Path) -> list[Finding]:
    """Say what waits on the disk, and with what batches are packed."""
    waiting = []
    for folder in sorted(spool_folder(state).glob("*")):
        stream = read_stream(folder)
        size = sum(path.stat().st_size for path in folder.glob("*.seg"))
        if stream is not None and size:
            waiting.append(f"{folder.name} of {stream.agent_id} ({size // 1024} KiB)")
    found = []
    if waiting:
        found.append(
            Finding(WARN, "spool", f"unsent events in {', '.join(waiting)}: sent by the next `watch`")
        )
    else:
        found.append(Finding(OK, "spool", f"nothing waits in {spool_folder(state)}"))
    if best_coding() == "zstd":
        found.append(Finding(OK, "compression", "zstd"))
    else:
        found.append(Finding(WARN, "compression", 'gzip; `pip install "guardhouse-agent[watch]"` for zstd'))
    return found
