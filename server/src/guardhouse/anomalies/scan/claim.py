"""Lanes: every stream belongs to one of 64, a worker judges the lanes it holds by lease."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.anomalies.scan import store
from guardhouse.anomalies.scan.store import LANES
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx

LEASE: Final = timedelta(seconds=15)  # after a crash another worker goes on this much later at most
RENEW_SECONDS: Final = 5.0


async def take_lanes(tx: Tx, clock: Clock, owner: UUID, limit: int) -> list[int]:
    """Renew and take lanes for 15 s; call at least every 5 s."""
    now = clock.now()
    return await store.take_lanes(tx, owner, min(limit, LANES), now, now + LEASE)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane back, so that another worker need not wait for the lease to lapse."""
    await store.release_lanes(tx, owner)
