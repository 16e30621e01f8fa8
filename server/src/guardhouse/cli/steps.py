"""How long commands talk: a line per step with what, why and how long; JSON lines or nothing when asked."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass


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
        """Say that something happened."""
        if self.as_json:
            print(json.dumps({"note": text}), flush=True)
        elif not self.quiet:
            print(f"  ! {text}", flush=True)

    def block(self, text: str, value: dict[str, object]) -> None:
        """Say the outcome: ``text`` for people, ``value`` for programs."""
        if self.as_json:
            print(json.dumps(value), flush=True)
        elif not self.quiet:
            print(text, flush=True)

    def _line(self, what: str, seconds: float) -> None:
        if self.as_json:
            print(json.dumps({"step": what, "seconds": round(seconds, 3)}), flush=True)
        elif not self.quiet:
            print(f"  ✓ {what} ({seconds:.1f} s)", flush=True)
