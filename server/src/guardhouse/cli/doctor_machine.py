"""Doctor's look at the machine: Python, disk, ports, and what the host agent needs."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from guardhouse import __version__
from guardhouse.cli.finding import Finding, failure, good, warning
from guardhouse.cli.healthcheck import ask
from guardhouse.cli.listen import DEFAULT_PORT
from guardhouse.cli.local_settings import READY_FILE, STATE_FILE
from guardhouse.foundation import postgres_probe
from guardhouse.foundation.data_folder import read_object
from guardhouse.settings import Settings

PYTHON = (3, 11)
LOW_BYTES, LEAST_BYTES = 2 << 30, 200 << 20
LEAST_INODES = 10_000
_PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
_NO_ATTACH = 3


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is found on this machine."""
    yield from _python()
    yield from _disk(settings.data_dir)
    yield from _servers(settings)
    yield from _host_agent()


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.platform(terse=True)} ({platform.machine()})"
    if sys.version_info >= PYTHON:
        yield good("Python", found)
    else:
        yield failure("Python", found, "Install Python 3.11 or later and make a new environment with it.")
    yield good("Guardhouse", __version__)


def _disk(data_dir: Path) -> Iterator[Finding]:
    folder = next(place for place in (data_dir, *data_dir.parents) if place.exists())
    free, inodes = shutil.disk_usage(folder).free, os.statvfs(folder).f_favail
    found = f"{free / 2**30:.1f} GiB and {inodes} inodes free for {data_dir}"
    advice = "Free some space or name another folder with GUARDHOUSE_DATA_DIR."
    if free < LEAST_BYTES or 0 < inodes < LEAST_INODES:
        yield failure("Disk", found, advice)
    elif free < LOW_BYTES:
        yield warning("Disk", found, advice)
    else:
        yield good("Disk", found)
    if not os.access(folder, os.W_OK):
        yield failure(
            "Data folder", f"{folder} cannot be written by this user", f"Change its owner: chown {folder}."
        )


def _servers(settings: Settings) -> Iterator[Finding]:
    ready = read_object(settings.data_dir / READY_FILE)
    url = str(ready.get("url", ""))
    if url:
        reasons = ask(url, 5.0)
        if reasons:
            yield failure(
                "API", f"{url} is not ready: {', '.join(reasons)}", "See serve.log in the data folder."
            )
        else:
            yield good("API", f"{url} is ready (process {ready.get('pid')})")
    elif postgres_probe.is_free(DEFAULT_PORT):
        yield good("API", f"not running under `guardhouse up`; port {DEFAULT_PORT} is free for it")
    else:
        yield warning(
            "API",
            f"not running under `guardhouse up`, and port {DEFAULT_PORT} is taken",
            "`guardhouse up` will take the next free port; `--port` names one.",
        )
    port = int(read_object(settings.data_dir / STATE_FILE).get("worker_port", settings.worker_metrics_port))
    if port:
        reasons = ask(f"http://127.0.0.1:{port}", 5.0)
        if not reasons:
            yield good("Worker", f"ready, its metrics on port {port}")
        elif url:
            yield failure("Worker", ", ".join(reasons), "See work.log in the data folder.")
        else:
            yield warning(
                "Worker",
                f"none on this machine at port {port}",
                "Start `guardhouse up` or `guardhouse work`.",
            )


def _host_agent() -> Iterator[Finding]:
    strace = shutil.which("strace")
    if strace:
        yield good("strace", f"{strace}, for the host agent")
    else:
        yield warning(
            "strace",
            "not installed; the host agent cannot trace programs",
            "As root: apt-get install strace.",
        )
    if _PTRACE_SCOPE.exists() and int(_PTRACE_SCOPE.read_text(encoding="ascii")) >= _NO_ATTACH:
        yield warning(
            "ptrace",
            "forbidden on this machine (ptrace_scope 3)",
            "As root: sysctl kernel.yama.ptrace_scope=1.",
        )
    owners = [
        name for name in ("guard-agent", "fastapi-guard-agent", "guardhouse-agent") if _is_installed(name)
    ]
    if len(owners) > 1:
        yield failure(
            "guard_agent",
            f"{' and '.join(owners)} own the same package",
            f"pip uninstall {' '.join(owners)} && pip install guardhouse-agent",
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
