"""What ``doctor`` says about one thing it looked at."""

from dataclasses import dataclass
from enum import Enum


class Mark(Enum):
    """Good, to be thought about, or broken."""

    GOOD = "✓"
    WARNING = "!"
    FAILURE = "✗"

    @property
    def severity(self) -> int:
        """0, 1 or 2: the exit status that this mark alone would give."""
        return list(Mark).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do about it (empty when good)."""

    mark: Mark
    what: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding for people."""
        advice = f"\n      → {self.remedy}" if self.remedy else ""
        return f"  {self.mark.value} {self.what}: {self.found}{advice}"


def good(what: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(Mark.GOOD, what, found)


def warning(what: str, found: str, remedy: str) -> Finding:
    """Return a finding that works but should be thought about."""
    return Finding(Mark.WARNING, what, found, remedy)


def failure(what: str, found: str, remedy: str) -> Finding:
    """Return a finding that keeps the house from working."""
    return Finding(Mark.FAILURE, what, found, remedy)
