"""The engine processes that a test has started."""

import psutil

from guardhouse.detections.engine_pool import PROCESS


def children() -> list[psutil.Process]:
    """Return the engine processes below this one."""
    return [child for child in psutil.Process().children(recursive=True) if PROCESS in child.cmdline()]
