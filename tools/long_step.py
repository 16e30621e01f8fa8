"""A long step of the project's own commands: says what, why and how long, and fails in a readable way.

Standard library alone: these run before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out"
PLAIN_EVERY_SECONDS = 10.0
TAIL_LINES = 20


class StepError(Exception):
    """A step ended badly; the message says what to do next."""


def colour(code: str, text: str) -> str:
    """Return ``text`` in a colour when a person looks at a terminal that wants colours."""
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def good() -> str:
    """Return the mark of a step that went well."""
    return colour("32", "✓")


def bad() -> str:
    """Return the mark of a step that failed."""
    return colour("31", "✗")


def run_step(
    what: str,
    command: list[str],
    *,
    log: str,
    about: str = "",
    again: str = "",
    environment: dict[str, str] | None = None,
) -> float:
    """Run ``command`` with its output in ``out/<log>``; returns the seconds it took.

    ``about`` says why and how long; ``again`` is the command for after a failure.

    Raises:
        StepError: it ended with another status than 0; the last lines of the log are in the message.
    """
    path = OUT / log
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    print(f"… {what}{f' ({about})' if about else ''}", flush=True)
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, begun, done), daemon=True)
    ticker.start()
    try:
        with path.open("wb") as output:
            code = subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
    except OSError as error:
        raise StepError(f"{what}: {command[0]} cannot be started: {error}") from error
    finally:
        done.set()
        ticker.join()
    seconds = time.monotonic() - begun
    if code != 0:
        print(f"{bad()} {what} failed after {seconds:.1f} s; the last lines of {path}:", flush=True)
        print(tail(path), flush=True)
        raise StepError(f"{what} failed. Log: {path}. Next: {again or ' '.join(command)}")
    print(f"{good()} {what} ({seconds:.1f} s)", flush=True)
    return seconds


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a file, indented."""
    text = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in text[-lines:])


def _tick(what: str, begun: float, done: threading.Event) -> None:
    live = sys.stdout.isatty()
    while not done.wait(1.0 if live else PLAIN_EVERY_SECONDS):
        elapsed = time.monotonic() - begun
        print(f"  {what}: {elapsed:.0f} s", end="\r" if live else "\n", flush=True)
