"""Waiting for scoring: how far behind it is, and when it has passed a position."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.request import system_transaction, tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.scores import queries, store

POLL_SECONDS: Final = 0.25
COUNTED_FOR_SECONDS: Final = 5.0
MAX_SCORES: Final = 1000


class IngestBacklogged(Problem):
    """Too many stored events wait for scoring; nothing of the request was stored."""

    status, code, title = 503, "ingest_backlogged", "Intake backlogged"
    remediation = (
        "Try again after Retry-After; the operator adds workers, or finds out why scoring stands still."
    )


@dataclass(slots=True)
class Backlog:
    """How many events of all agents wait for scoring, counted at most every five seconds."""

    resources: Resources
    _count: int = 0
    _counted_at: float = float("-inf")

    async def check(self) -> None:
        """Refuse new events while too many wait.

        Raises:
            IngestBacklogged: over ``ingest_backlog_events``.
        """
        if time.monotonic() - self._counted_at > COUNTED_FOR_SECONDS:
            self._counted_at = time.monotonic()
            async with system_transaction(self.resources) as tx:
                self._count = await queries.count_backlog(tx)
        limit = self.resources.settings.ingest_backlog_events
        if self._count > limit:
            raise IngestBacklogged(
                f"{self._count} events wait for scoring, the limit is {limit}.",
                headers={"Retry-After": str(int(COUNTED_FOR_SECONDS) + 1)},
            )


async def scored_up_to(resources: Resources, agent_no: int, position: int, seconds: float) -> bool:
    """Wait until scoring of an agent has passed a position; False when the time is over first."""
    woken = asyncio.Event()
    stop = resources.wake.subscribe("scored", lambda _payload: woken.set())
    deadline = time.monotonic() + seconds
    try:
        while True:
            woken.clear()
            async with system_transaction(resources) as tx:
                cursor = await store.get_cursor(tx, agent_no)
            if (0 if cursor is None else cursor.position) >= position:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            await set_within(woken, min(left, POLL_SECONDS))
    finally:
        stop()


async def scores_since(
    resources: Resources, tenant: TenantKey, agent_no: int, position: int
) -> list[dict[str, Any]]:
    """Return the numbers of processes that have events at or after a position, at most 1,000."""
    async with tenant_transaction(resources, tenant) as tx:
        rows = await queries.list_touched(tx, agent_no, position, MAX_SCORES)
    return [
        {
            "process_id": row.process_id,
            "risk": row.risk / 100,
            "risk_score": row.risk_score / 100,
            "band": row.band,
        }
        for row in rows
    ]
