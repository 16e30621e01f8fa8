"""Lanes: every agent belongs to one of 64, a worker scores the lanes it holds by lease."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.scores import store
from guardhouse.scores.store import LANES, Backlog

LEASE: Final = timedelta(seconds=30)
RENEW_SECONDS: Final = 10.0
AGENTS_AT_ONCE: Final = 64


async def take_lanes(tx: Tx, clock: Clock, owner: UUID, limit: int) -> list[int]:
    """Renew and take lanes for 30 s; call at least every 10 s."""
    now = clock.now()
    return await store.take_lanes(tx, owner, min(limit, LANES), now, now + LEASE)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane back, so that another worker need not wait for the lease to lapse."""
    await store.release_lanes(tx, owner)


async def list_backlog(tx: Tx, lanes: list[int]) -> list[Backlog]:
    """Return agents of these lanes that have events to score."""
    return await store.list_backlog(tx, lanes, AGENTS_AT_ONCE)
