"""How a process is doing, from what it said last and how long ago that was. Pure: the time comes in."""

from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import Final, Literal

State = Literal["healthy", "degraded", "late", "silent", "ended", "unclean"]

UNKNOWN_INTERVAL: Final = timedelta(seconds=300)
SHORTEST: Final = timedelta(seconds=60)
LONGEST: Final = timedelta(seconds=86_400)
GAPS: Final = 5
LATE_AFTER: Final = 2
SILENT_AFTER: Final = 4
AHEAD: Final = timedelta(minutes=5)
"""A last contact further in the future than this is a clock that was set back."""

_WELL: Final = frozenset({"healthy", "ok"})


def interval_of(gaps: Sequence[int], *, irregular: bool) -> timedelta:
    """Return how often a process reports, from the seconds between its last reports.

    ``irregular``: it also reports when something changes, so short gaps say nothing about the long ones.
    """
    if not gaps:
        return UNKNOWN_INTERVAL
    learned = timedelta(seconds=median(gaps[-GAPS:]))
    return min(max(learned, UNKNOWN_INTERVAL if irregular else SHORTEST), LONGEST)


def add_gap(gaps: Sequence[int], gap: timedelta) -> list[int]:
    """Return the last gaps with one more; a gap that a clock made up is left out."""
    seconds = round(gap.total_seconds())
    return [*gaps, seconds][-GAPS:] if 0 < seconds <= LONGEST.total_seconds() else list(gaps)


def state_of(
    *,
    closed: Literal["ended", "unclean"] | None,
    health: str | None,
    waiting: int,
    silence: timedelta,
    interval: timedelta,
) -> State:
    """Return the state. ``waiting``: items that it said are still to be delivered."""
    if closed is not None:
        return closed
    if silence >= SILENT_AFTER * interval:
        return "unclean" if waiting else "silent"
    if silence >= LATE_AFTER * interval:
        return "late"
    return "healthy" if health is None or health in _WELL else "degraded"


def due_after(state: State, interval: timedelta) -> timedelta | None:
    """Return after how much silence time alone changes the state; None: never."""
    if state in ("healthy", "degraded"):
        return LATE_AFTER * interval
    return SILENT_AFTER * interval if state == "late" else None
