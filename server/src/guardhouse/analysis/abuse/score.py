"""The abuse score of an address: 0 to 1000, a pure function of how many events of each type fell in which ten minutes.

``A = sum(w * LOG2[min(n, 4096)] * HALF[k] >> 20) // 1000`` over the last 144 buckets, with w the type's weight in
thousandths of a point, n the events of a type in a bucket and k the bucket's age; ``score = 1000 A // (A + 8000)``.
Integers only, so neither order nor batching nor the machine can change it. Vectors: ``agents/ip_scores.json``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from guardhouse.analysis.abuse.classes import WEIGHTS_IN_THOUSANDTHS

Band = Literal["none", "medium", "high", "critical"]
Counts = Mapping[tuple[str, int], int]
"""Events by (type, number of the ten minutes since 1970)."""

BUCKET_SECONDS: Final = 600
BUCKETS: Final = 144
MAX_COUNT: Final = 4096
HALF_ACTIVITY: Final = 8000  # thousandths of a point that make a score of 500
LOG2: Final = tuple(round(1000 * math.log2(1 + count)) for count in range(MAX_COUNT + 1))
HALF: Final = tuple(round(2.0 ** (20 - age / 6)) for age in range(BUCKETS))
THRESHOLDS: Final[tuple[tuple[Band, int], ...]] = (
    ("critical", 850),
    ("high", 600),
    ("medium", 300),
    ("none", 0),
)
BANDS: Final[tuple[Band, ...]] = tuple(band for band, _ in reversed(THRESHOLDS))  # least first
LEFT_BELOW: Final = 50


@dataclass(frozen=True, slots=True)
class Contribution:
    """What the events of one type in one bucket add: ``points`` in thousandths of a point."""

    event_type: str
    bucket: int
    count: int
    points: int


def bucket_of(epoch_seconds: float) -> int:
    """Return the number of the ten minutes that an instant lies in."""
    return math.floor(epoch_seconds) // BUCKET_SECONDS


def contributions(counts: Counts, now: int) -> list[Contribution]:
    """Return what each count adds to the activity in bucket ``now``; the points sum to it exactly.

    Newest bucket first, then by type. A bucket ahead of ``now`` counts as the present one.
    """
    found = []
    exact = reached = 0
    for event_type, bucket in sorted(counts, key=lambda place: (-place[1], place[0])):
        term = _term(event_type, bucket, counts[event_type, bucket], now)
        if term:
            exact += term
            # Each takes the whole points that its share completes: so none is lost to rounding.
            found.append(
                Contribution(event_type, bucket, counts[event_type, bucket], exact // 1000 - reached)
            )
            reached = exact // 1000
    return found


def activity(counts: Counts, now: int) -> int:
    """Return the activity A of an address in bucket ``now``, in thousandths of a point."""
    return sum(_term(event_type, bucket, n, now) for (event_type, bucket), n in counts.items()) // 1000


def score_of(active: int) -> int:
    """Return the score, 0 to 999, of an activity."""
    return 1000 * active // (active + HALF_ACTIVITY)


def activity_for(score: int) -> int:
    """Return the least activity that has a score, 0 to 999."""
    return -(-HALF_ACTIVITY * score // (1000 - score))


def band_of(score: int) -> Band:
    """Return the band that a score lies in."""
    return next(band for band, least in THRESHOLDS if score >= least)


def band_after(before: Band, score: int) -> Band:
    """Return the band of an address that was in one: it is left downwards only 50 points below its threshold."""
    kept = next(band for band, least in THRESHOLDS if score >= least - (LEFT_BELOW if least else 0))
    held = min(before, kept, key=BANDS.index)
    return max(band_of(score), held, key=BANDS.index)


def falls_at(counts: Counts, now: int, band: Band) -> int | None:
    """Return the first bucket after ``now`` in which time alone has taken an address below a band; None if never."""
    if band == "none":
        return None
    low, high = 1, max([BUCKETS, *(bucket - now + BUCKETS for _, bucket in counts)])
    while low < high:
        middle = (low + high) // 2
        left = band_after(band, score_of(activity(counts, now + middle)))
        if BANDS.index(left) >= BANDS.index(band):
            low = middle + 1
        else:
            high = middle
    return now + low


def rank_of(counts: Counts, now: int) -> float | None:
    """Return a number by which addresses are ordered as by their activity, at any time; None when they have none.

    All activity halves at the same pace, so an order by ``log2(A)`` plus the hours since 1970 stays as it is.
    """
    total = sum(_term(event_type, bucket, n, now) for (event_type, bucket), n in counts.items())
    return math.log2(total) + now / 6 if total else None


def rank_for(score: int, now: int) -> float:
    """Return the rank that the least activity with a score, 1 to 999, has in bucket ``now``."""
    return math.log2(activity_for(score) * 1000) + now / 6


def _term(event_type: str, bucket: int, count: int, now: int) -> int:
    age = max(0, now - bucket)
    if age >= BUCKETS:
        return 0
    weight = WEIGHTS_IN_THOUSANDTHS.get(event_type, 0)
    term: int = weight * LOG2[min(count, MAX_COUNT)] * HALF[age] >> 20
    return term
