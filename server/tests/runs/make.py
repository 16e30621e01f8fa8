"""A house with money and hands: submit over HTTP, work in process, move the clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity.store import Tenant
from guardhouse.ledger.verify import verify
from guardhouse.runs import jobs, lease
from guardhouse.runs.execute import AtWork, execute
from guardhouse.runs.lease import BEFORE_ALL
from guardhouse.runs.store import Run
from server.tests.ledger.make import funded

QUESTION = {"question": "Postgres or MySQL?", "mode": "brief"}
KNOWN = {
    "question": "Where to live?",
    "options": [
        {"name": "flat", "scores": {"place": 8, "room": 2}},
        {"name": "house", "scores": {"place": 6, "room": 9}},
    ],
    "criteria": [{"name": "place", "weight": 5}, {"name": "room", "weight": 3}],
}


@dataclass(slots=True)
class House:
    """A tenant, its client, and the hands of a worker."""

    resources: Resources
    client: httpx.AsyncClient
    tenant: Tenant
    clock: SetClock

    async def fund(self, micros: int = 100_000_000) -> None:
        """Give the tenant money."""
        await funded(self.resources, self.tenant, micros)

    async def submit(self, key: str = "k1", **changed: Any) -> httpx.Response:
        """Submit a run."""
        body = {"pack_type": "decision", "inputs": QUESTION, "max_cost_usd": "5.00"} | changed
        body = {name: value for name, value in body.items() if value is not ...}
        return await self.client.post("/api/v1/runs", json=body, headers={"Idempotency-Key": key})

    async def submitted(self, key: str = "k1", **changed: Any) -> str:
        """Submit a run that is taken; return its id."""
        answer = await self.submit(key, **changed)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["run_id"]
        return found

    async def claim(self, most: int = 16) -> list[Run]:
        """Lease runs as a worker does."""
        async with system_transaction(self.resources.database) as tx:
            return (await lease.claim(tx, most, BEFORE_ALL, self.clock.now())).runs

    async def work(self) -> None:
        """Do whatever is queued."""
        while runs := await self.claim():
            await asyncio.gather(*(execute(self.resources, AtWork(run)) for run in runs))

    async def get(self, run_id: str) -> dict[str, Any]:
        """Read a run."""
        answer = await self.client.get(f"/api/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def balance(self) -> tuple[str, str, str]:
        """Return what is available, held and spent, of books that are whole."""
        async with tenant_transaction(self.resources.database, self.tenant.key) as tx:
            found = await verify(tx, self.tenant.id)
        assert found.faults == []
        shown = (await self.client.get("/api/v1/balance")).json()
        return shown["available_usd"], shown["held_usd"], shown["spent_usd"]

    async def kinds(self, run_id: str) -> list[tuple[str, int]]:
        """Return the notices of a run in their order, with their versions."""
        async with system_transaction(self.resources.database) as tx:
            rows = await tx.fetch(
                "SELECT kind, subject_seq FROM notices WHERE subject = $1 ORDER BY epoch, txid, id",
                f"run:{run_id}",
            )
        return [(row[0], row[1]) for row in rows]


@asynccontextmanager
async def worker(resources: Resources) -> AsyncIterator[None]:
    """Run the loop of a worker for the length of the block."""
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.work_runs(resources, stop))
    try:
        yield
    finally:
        stop.set()
        await task
