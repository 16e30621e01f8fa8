"""Which process of an installation a status is from, when the client does not say: by when it must have started."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(milliseconds=50)
TOO_SOON: Final = timedelta(seconds=30)
"""No released client reports more often than every 60 s: a second report sooner is another process."""

JITTER: Final = timedelta(milliseconds=1)
"""How far the start that one process gives moves from report to report."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A known process: when it started, and what its last report gave as the time (None: not known yet)."""

    no: int
    started_at: datetime | None
    reported_at: datetime | None


def match_start(known: Iterable[Candidate], started_at: datetime, reported_at: datetime) -> Candidate | None:
    """Return the process that started then, else one whose start is not known, else None: it is a new one.

    Times are the client's own, so a clock that is wrong but steady changes nothing.
    """
    near: list[tuple[timedelta, int, Candidate]] = []
    unstarted = None
    for candidate in known:
        if candidate.started_at is None:
            unstarted = candidate
            continue
        distance = abs(candidate.started_at - started_at)
        if distance <= TOLERANCE and not _too_soon(candidate, distance, reported_at):
            near.append((distance, candidate.no, candidate))
    return min(near)[2] if near else unstarted


def _too_soon(candidate: Candidate, distance: timedelta, reported_at: datetime) -> bool:
    if candidate.reported_at is None:
        return False
    if candidate.reported_at == reported_at and distance <= JITTER:
        return False  # the same report once more: a client that had no answer
    return abs(reported_at - candidate.reported_at) < TOO_SOON
