"""Processes of a killed ``guardhouse up`` that still end, or on systems without death signals still run."""

import contextlib
import signal

import psutil

from guardhouse.cli.child import Child
from guardhouse.foundation import bound_process
from guardhouse.foundation.data_folder import DataFolder

FILE = "processes.json"
_STEPS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


def remember(folder: DataFolder, children: list[Child]) -> None:
    """Note pid and start time of the running children."""
    running: dict[str, float] = {}
    for child in children:
        with contextlib.suppress(psutil.Error):
            if child.pid is not None:
                running[str(child.pid)] = psutil.Process(child.pid).create_time()
    folder.write(FILE, running)


def end_leftovers(folder: DataFolder) -> None:
    """End what the last ``up`` of this folder left running; a pid that now belongs to a stranger is let alone."""
    for pid, started_at in folder.read(FILE).items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if abs(process.create_time() - started_at) < 1.0:
                bound_process.end_in_steps(process, _STEPS)
