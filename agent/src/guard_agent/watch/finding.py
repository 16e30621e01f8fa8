"""One line of `doctor`: what was found, and what to do about it."""

from dataclasses import dataclass
from typing import Final

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
_SIGNS: Final = {OK: "✓", WARN: "!", FAIL: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `state` is ok, warn or fail; `text` says what was found and what to do about it."""

    state: str
    name: str
    text: str

    def line(self) -> str:
        """Return the finding as it is printed."""
        return f"{_SIGNS[self.state]} {self.name}: {self.text}"
