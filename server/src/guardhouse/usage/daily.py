"""Sums per day, made once when the day can change no more; they outlive the log, which is kept for ninety days."""

from datetime import date, datetime, timedelta
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.usage import store

DAYS_AHEAD: Final = 7
DAYS_KEPT: Final = 90
SETTLED: Final = timedelta(hours=1)  # rows come at most half an hour late, see usage.log


async def ensure_days(tx: Tx, now: datetime) -> int:
    """Make the partitions of the log that may be written from now on; returns how many were new."""
    return await store.create_days(tx, now.date(), ahead=DAYS_AHEAD)


async def settled_days(tx: Tx, now: datetime) -> list[date]:
    """Return the days of the log that can change no more, oldest first."""
    last = (now - SETTLED).date()
    return [day for day in await store.list_days(tx) if day < last]


async def sum_day(tx: Tx, day: date, now: datetime) -> bool:
    """Sum a settled day; False when that was done before."""
    return await store.sum_day(tx, day, now)


async def drop_day(tx: Tx, day: date) -> None:
    """Drop a day of the log whose sums are made."""
    await store.drop_day(tx, day)


def is_expired(day: date, now: datetime) -> bool:
    """Tell whether a day of the log is past what is kept."""
    return day < now.date() - timedelta(days=DAYS_KEPT)
