"""What a reader of foreign lines met: each line counted once, the last unreadable ones kept for a person."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

KEPT_LINES: Final = 100
KEPT_LINE_BYTES: Final = 1024


@dataclass(slots=True)
class ReadReport:
    """What became of each line.

    When nothing is folded, `lines` + `forks_ahead` = `events` + `unreadable` + the sum of `without_event`.
    `calls` counts calls, folded ones too; `unfinished` are calls that never returned; `kept` are the last
    unreadable lines; `forks_ahead` are forks told when the child spoke before its parent's fork returned.
    """

    lines: int = 0
    events: int = 0
    calls: int = 0
    unreadable: int = 0
    unfinished: int = 0
    forks_ahead: int = 0
    without_event: Counter[str] = field(default_factory=Counter)
    kept: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def keep(self, line: str) -> None:
        """Count a line that could not be read and keep its first 1,024 bytes."""
        self.unreadable += 1
        self.kept.append(
            line[:KEPT_LINE_BYTES].encode("utf-8", "replace")[:KEPT_LINE_BYTES].decode("utf-8", "replace")
        )
