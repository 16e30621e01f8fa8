"""Who works on what: runs are leased to workers in turns of their tenants, and leases are kept by a heartbeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunStarted
from guardhouse.runs import plan, store
from guardhouse.runs.states import told
from guardhouse.runs.store import Run

LEASE: Final = timedelta(seconds=120)
HEARTBEAT_SECONDS: Final = 30.0
MOST_OF_ONE_TENANT: Final = 16
TENANTS_AT_ONCE: Final = 64
BEFORE_ALL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Claimed:
    """Leased runs, and the tenant after which the next turn begins."""

    runs: list[Run]
    after: UUID


async def claim(tx: Tx, most: int, after: UUID, now: datetime) -> Claimed:
    """Lease up to ``most`` queued runs, tenants in turns, none above what its plan lets work at once.

    A tenant that another worker is claiming from is passed by: the lock makes the count of its runs at work exact.
    """
    tenants = await store.tenants_waiting(tx, after, TENANTS_AT_ONCE)
    if not tenants and after != BEFORE_ALL:
        tenants, after = await store.tenants_waiting(tx, BEFORE_ALL, TENANTS_AT_ONCE), BEFORE_ALL
    if not tenants:
        return Claimed([], BEFORE_ALL)
    limits = await plan.concurrency_of(tx, tenants)
    runs = await store.claim(tx, limits, now, now + LEASE, MOST_OF_ONE_TENANT, most)
    await publish_all(tx, [told(RunStarted, run) for run in runs])
    last = tenants[-1] if len(tenants) == TENANTS_AT_ONCE else BEFORE_ALL
    return Claimed(runs, last)


async def renew(tx: Tx, tokens: Sequence[UUID], now: datetime) -> dict[UUID, bool]:
    """Keep leases; what is not in the answer is lost. The value says whether the run's end was asked for."""
    return await store.renew(tx, tokens, now, now + LEASE)
