"""How long commands talk: a line per step with what, why and how long; JSON lines or nothing when asked."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Steps:
    """Where progress goes: plain lines, JSON lines (``as_json``) or nowhere (``quiet``). Failures are not its task."""

    quiet: bool = False
    as_json: bool = False

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say ``what`` is being done and, when done, how long it took."""
        live = sys.stdout.isatty() and not (self.quiet or self.as_json)
        if live:
            print(f"  … {what}", end="\r", flush=True)
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            if live:
                print()
            raise
        self._line(what, time.monotonic() - begun)

    def note(self, text: str) -> None:
        """Say that something went wrong and is being mended; also when quiet."""
        if self.as_json:
            _say(json.dumps({"note": text}))
        else:
            _say(f"  ! {text}", sys.stderr)

    def block(self, text: str, value: dict[str, object]) -> None:
        """Say the outcome: ``text`` for people, ``value`` for programs."""
        if self.as_json:
            _say(json.dumps(value))
        elif not self.quiet:
            _say(text)

    def _line(self, what: str, seconds: float) -> None:
        if self.as_json:
            _say(json.dumps({"step": what, "seconds": round(seconds, 3)}))
        elif not self.quiet:
            _say(f"  ✓ {what} ({seconds:.1f} s)")


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print a line; a reader that went away is no reason to stop a house."""
    with contextlib.suppress(OSError):
        print(text, file=stream or sys.stdout, flush=True)
