"""Who sends: endpoints are spread over 64 lanes that dispatchers hold by lease; one more lane is fan-out's."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.webhooks import lane_store
from guardhouse.webhooks.lane_store import FAN_OUT_LANE
from guardhouse.webhooks.store import SHARDS

LEASE: Final = timedelta(seconds=10)  # after a crash another worker goes on this much later at most
RENEW_SECONDS: Final = 3.0
SPARE: Final = timedelta(seconds=2)  # a lease this close to its end is not relied on any more
DAYS_KEPT: Final = 30
DAYS_AHEAD: Final = 7


async def take_shards(tx: Tx, clock: Clock, owner: UUID, limit: int) -> list[int]:
    """Renew and take shards for 10 s; call at least every 3 s."""
    now = clock.now()
    return await lane_store.take_lanes(tx, owner, (0, SHARDS - 1), min(limit, SHARDS), now, now + LEASE)


async def take_fan_out(tx: Tx, clock: Clock, owner: UUID) -> bool:
    """Renew or take the one lane of fan-out; False while another holds it."""
    now = clock.now()
    return bool(await lane_store.take_lanes(tx, owner, (FAN_OUT_LANE, FAN_OUT_LANE), 1, now, now + LEASE))


async def release(tx: Tx, owner: UUID) -> None:
    """Give every lane back, so that another worker need not wait for the lease to lapse."""
    await lane_store.release_lanes(tx, owner)


async def make_days(tx: Tx, now: datetime, since: datetime | None = None) -> None:
    """Make the days to come, and those from ``since`` on, of messages, deliveries and attempts."""
    today = now.date()
    first = min(today - timedelta(days=1), today if since is None else since.date())
    for parent in lane_store.PARTITIONED:
        present = set(await lane_store.list_days(tx, parent))
        day = max(first, today - timedelta(days=DAYS_KEPT))
        while day <= today + timedelta(days=DAYS_AHEAD):
            if day not in present:
                await lane_store.create_day(tx, parent, day)
            day += timedelta(days=1)
