"""Lanes: every agent belongs to one of 64, a worker scores the lanes it holds by lease."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.scores import store
from guardhouse.scores.store import LANES, Backlog

LEASE: Final = timedelta(seconds=10)  # after a crash another worker goes on this much later at most
RENEW_SECONDS: Final = 3.0
AGENTS_AT_ONCE: Final = 64


async def take_lanes(tx: Tx, clock: Clock, owner: UUID, limit: int) -> list[int]:
    """Renew and take lanes for 10 s; call at least every 3 s."""
    now = clock.now()
    return await store.take_lanes(tx, owner, min(limit, LANES), now, now + LEASE)


async def release_lanes(tx: Tx, owner: UUID) -> None:
    """Give every lane back, so that another worker need not wait for the lease to lapse."""
    await store.release_lanes(tx, owner)


async def list_backlog(
    tx: Tx, lanes: list[int], *, after: int = 0, without: Sequence[int] = ()
) -> list[Backlog]:
    """Return agents of these lanes that have events to score, at most 64, those behind agent ``after`` first.

    With the last one of a round as ``after`` of the next everybody's turn comes, however many are busy.
    """
    return await store.list_backlog(tx, lanes, AGENTS_AT_ONCE, after, without)
