"""How long a second `guardhouse up` takes until it answers, and what the idle tree of processes weighs.

Memory is the proportional set size (shared pages counted once) of the supervisor and everything below it.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _kit import finish

ROUNDS = 5
MUST, GOAL = 3.0, 1.5
MUST_MIB, GOAL_MIB = 400.0, 300.0


@contextmanager
def house(folder: Path) -> Iterator[tuple[float, psutil.Process]]:
    """Start the house in a data folder; yields the seconds until it was ready, and its supervisor."""
    ready = folder / "ready-for-bench.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "guardhouse.cli.main", "up", "--data-dir", str(folder), "--port", "0"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--no-demo", "--quiet", "--ready-file", str(ready)], stdout=subprocess.DEVNULL
    )
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise RuntimeError(f"up ended with {process.returncode}")
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        yield seconds, psutil.Process(json.loads(ready.read_text())["pid"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def weight_mib(root: psutil.Process) -> dict[str, float]:
    """Return the proportional set size of each part of the tree in MiB."""
    parts: dict[str, float] = {}
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own workers come and go
            ours = next((word for word in process.cmdline() if word in {"up", "serve", "work"}), "other")
            name = "postgres" if "postgres" in process.name() else ours
            parts[name] = parts.get(name, 0.0) + process.memory_full_info().pss / (1 << 20)
    return parts


def main() -> None:
    """Start once to make the folder, then measure later starts."""
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with house(folder) as (first, _):
            print(f"first start: {first:.2f} s")
        seconds, weights = [], []
        for number in range(ROUNDS):
            with house(folder) as (took, root):
                time.sleep(1.0)  # let the start-up's own work end
                parts = weight_mib(root)
            seconds.append(took)
            weights.append(sum(parts.values()))
            listed = ", ".join(f"{part} {mib:.0f}" for part, mib in sorted(parts.items()))
            print(f"start {number + 2}: {took:.2f} s; MiB: {listed}; sum {weights[-1]:.0f}")
    finish("idle_memory", weights, [], "MiB", must=MUST_MIB, goal=GOAL_MIB, on="ours", better="lower")
    finish("second_start", seconds, [], "s", must=MUST, goal=GOAL, on="ours", better="lower")


if __name__ == "__main__":
    main()
