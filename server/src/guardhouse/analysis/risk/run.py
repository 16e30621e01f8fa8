"""The run of a program that is going on in a process: where it began, and which evidence it has had.

Invariant: bounded whatever the input; a run ends with an exec, an exit, another program's name, or after 24 h.
"""

from typing import Any, Final

LONG_RUN_US: Final = 24 * 3600 * 1_000_000
MAX_HITS: Final = 64
CALM_UNDER: Final = 2_000
"""Risk of a tree in hundredths under which its runs may be learned without anybody's word."""


class OpenRun:
    """What is known of a run so far. `received` and `lost` are the agent's counters when it began."""

    __slots__ = ("after", "calls", "hits", "lost", "received", "started_us")

    def __init__(self, after: int, started_us: int, calls: int, heard: tuple[int, int]) -> None:
        self.after = after
        self.started_us = started_us
        self.calls = calls  # of the process when it began
        self.received, self.lost = heard
        self.hits: dict[str, int] | None = (
            None  # evidence id -> position of its first hit; most runs have none
        )

    def hit(self, evidence_id: str, position: int) -> None:
        """Note that this evidence was seen in the run."""
        hits = self.hits
        if hits is None:
            hits = self.hits = {}
        if len(hits) < MAX_HITS:
            hits.setdefault(evidence_id, position)

    def list_hits(self) -> list[tuple[str, int]]:
        """The evidence that was seen, in the order of its first hits."""
        return [] if self.hits is None else list(self.hits.items())

    def pack(self) -> list[Any]:
        """Fields as JSON values."""
        return [self.after, self.started_us, self.calls, self.received, self.lost, self.list_hits()]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "OpenRun":
        """The run that `pack` wrote."""
        after, started_us, calls, received, lost, hits = packed
        run = cls(after, started_us, calls, (received, lost))
        run.hits = dict(hits) if hits else None
        return run
