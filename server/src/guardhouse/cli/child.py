"""One supervised process: started again when it dies, later each time, its output in a bounded log file."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from guardhouse.foundation import bound_process
from guardhouse.foundation.bound_process import Launch

LOG_LIMIT_BYTES = 20_000_000
FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.2, 10.0
STEADY_SECONDS = 30.0
_SENTENCE = "guardhouse: "  # how a command says why it cannot go on


@dataclass(slots=True)
class Child:
    """A command that should always run. ``environment`` is asked at each start: addresses may have changed.

    ``descriptors`` are passed on; ``keeps`` holds their owners, which would close them when forgotten.
    """

    name: str
    command: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    log: Path
    descriptors: Sequence[int] = ()
    keeps: Sequence[object] = ()
    deaths: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _next_start: float = field(default=0.0)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process; what it writes goes to the end of its log."""
        self.trim_log()
        with self.log.open("ab") as output:
            self._process = bound_process.start_bound(
                Launch(
                    command=self.command,
                    environment=self.environment(),
                    folder=self.log.parent,
                    output=output,
                    descriptors=self.descriptors,
                )
            )
        self._started_at = time.monotonic()

    def revive(self) -> str | None:
        """Start the process again when it died and its pause is over; returns a sentence for a death just seen."""
        if self.pid is not None:
            return None
        now = time.monotonic()
        if self._process is not None:
            code = self._process.returncode
            self._process = None
            self.deaths = 0 if now - self._started_at > STEADY_SECONDS else self.deaths + 1
            pause = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**self.deaths)
            self._next_start = now + pause
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            return f"{self.name} {how}; it starts again in {pause:.1f} s (log: {self.log})"
        if now >= self._next_start:
            self.start()
        return None

    def ask_to_end(self) -> None:
        """Send SIGTERM; returns at once."""
        if self.pid is not None and self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def end(self, seconds: float) -> None:
        """Wait for the process to end, and kill it after ``seconds``."""
        if self._process is not None:
            if not bound_process.wait_gone(self._process, seconds):
                self._process.kill()
                self._process.wait()
            self._process = None

    def trim_log(self) -> None:
        """Move an overlong log aside, keeping one old file; the process goes on writing into the emptied one."""
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            with self.log.open("r+b") as file:
                file.truncate(0)

    def reason(self) -> str:
        """Return why the process ended: its own sentence, or the end of its log."""
        lines = self._last_lines()
        if lines and lines[-1].startswith(_SENTENCE):
            return lines[-1].removeprefix(_SENTENCE)
        return "\n".join([f"{self.name} ended while starting (log: {self.log}):", *lines])

    def _last_lines(self, count: int = 20) -> list[str]:
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8000))
            return file.read().decode(errors="replace").splitlines()[-count:]
