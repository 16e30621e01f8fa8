"""A ``guardhouse up`` under test: started as a process, asked as a client, ended by its own pid."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

COMMAND = (sys.executable, "-m", "guardhouse.cli.main")
START_SECONDS = 90.0


def clean_environment(**given: str) -> dict[str, str]:
    """Return this environment without any setting of the product but the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GUARDHOUSE_")}
    return kept | given


def run(*arguments: str, timeout: float = 60.0, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def wait_for(condition: Any, seconds: float, what: str) -> None:
    """Wait until ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


@dataclass(slots=True)
class RunningHouse:
    """One running ``up``."""

    process: subprocess.Popen[str]
    data_dir: Path
    started_in_seconds: float

    @property
    def ready(self) -> dict[str, Any]:
        """What the ready file in the data folder says."""
        found: dict[str, Any] = json.loads((self.data_dir / "ready.json").read_text())
        return found

    def get(self, path: str, *, key: bool = True) -> tuple[int, Any]:
        """Ask the API; status 0 when it does not answer."""
        place = urlsplit(self.ready["url"])
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
        try:
            connection.request("GET", path, headers={"X-API-Key": self.ready["admin_key"]} if key else {})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith(b"{") else content
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def closing_block(self) -> str:
        """Return what was printed up to the line that says how to stop."""
        lines: list[str] = []
        while not (lines and lines[-1].strip().startswith("Stop")):
            assert self.process.stdout is not None
            lines.append(self.process.stdout.readline())
        return "".join(lines)

    def find(self, name: str) -> psutil.Process | None:
        """Return the process ``serve``, ``work`` or ``postgres``, or None while it is not there."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline() or [""]
                is_part = Path(words[0]).name == "postgres" if name == "postgres" else name in words
                if is_part and "bound_exec" not in " ".join(words):
                    return process
        return None

    def part(self, name: str) -> psutil.Process:
        """Return the process ``serve``, ``work`` or ``postgres``, waiting for it."""
        wait_for(lambda: self.find(name), 20, f"the process {name}")
        found = self.find(name)
        assert found is not None
        return found

    def all_processes(self) -> list[psutil.Process]:
        """Return the whole tree."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal and return exit status and seconds until the end."""
        begun = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - begun


def _ready_pid(data_dir: Path) -> int | None:
    try:
        return int(json.loads((data_dir / "ready.json").read_text())["pid"])
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def running_house(data_dir: Path, *options: str, **settings: str) -> Iterator[RunningHouse]:
    """Start a house, wait until it is ready, and end it however the block left it."""
    begun = time.monotonic()
    with subprocess.Popen(
        [*COMMAND, "up", "--data-dir", str(data_dir), "--no-demo", *options],
        env=clean_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            # A killed house leaves its ready file; the new one's has the new process id.
            wait_for(
                lambda: _ready_pid(data_dir) == process.pid or process.poll() is not None,
                START_SECONDS,
                f"ready.json in {data_dir} after {options}",
            )
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            yield RunningHouse(process, data_dir, time.monotonic() - begun)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(20)
