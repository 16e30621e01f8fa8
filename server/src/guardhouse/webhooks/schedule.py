"""When a delivery is tried again: presets of pauses, repeatable jitter, and what the receiver itself asks for."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

JITTER: Final = 0.2
LONGEST_STEP_SECONDS: Final = 86_400.0
MAX_STEPS: Final = 15
_MINUTE, _HOUR = 60.0, 3600.0

# Seconds between one try and the next; the first try is at once and not listed.
PRESETS: Final[Mapping[str, tuple[float, ...]]] = {
    "standard": (
        5.0,
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        14 * _HOUR,
        20 * _HOUR,
        24 * _HOUR,
    ),
    "three_strikes": (2.0, 4.0),
}


def next_try(
    steps: Sequence[float], *, delivery: str, tried: int, now: datetime, retry_after: float | None = None
) -> datetime | None:
    """Return when to try again after the ``tried``-th try failed, or None when that was the last.

    The pause is the schedule's step ± 20 %, derived from delivery and try so that it is repeatable; a receiver
    that asks for more in Retry-After gets it, up to 24 h.
    """
    if tried > len(steps):
        return None
    pause = steps[tried - 1] * (1 - JITTER + 2 * JITTER * _share(delivery, tried))
    if retry_after is not None:
        pause = max(pause, min(retry_after, LONGEST_STEP_SECONDS))
    return now + timedelta(seconds=pause)


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 §10.2.3), or None when it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_STEP_SECONDS)
    try:
        instant = parsedate_to_datetime(text)
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
        return min(max(0.0, (instant - now).total_seconds()), LONGEST_STEP_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return None


def _share(delivery: str, tried: int) -> float:
    digest = hashlib.blake2b(f"{delivery}:{tried}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
