"""A run that was paid for and is done, for tests of everything that shows one."""

from collections.abc import Mapping
from typing import Protocol

import httpx

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.ledger.deposit import Payment, deposit
from guardhouse.runs import lease
from guardhouse.runs.execute import AtWork, execute


class Buyer(Protocol):
    """Who buys: a tenant, and the headers that speak for it."""

    @property
    def tenant(self) -> TenantKey:
        """Return the tenant."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers."""


async def bought_run(client: httpx.AsyncClient, resources: Resources, buyer: Buyer, mark: str) -> str:
    """Give a tenant money and let it buy a run that is done; return its id."""
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        await deposit(tx, buyer.tenant.id, Payment("test", mark, 100_000_000), "test", new_id(), now)
    body = {"pack_type": "decision", "inputs": {"question": mark}, "max_cost_usd": "1.00", "label": mark}
    bought = await client.post("/api/v1/runs", json=body, headers={**buyer.headers, "Idempotency-Key": mark})
    assert bought.status_code == 201, bought.text
    async with system_transaction(resources.database) as tx:
        claimed = await lease.claim(tx, 1, lease.BEFORE_ALL, now)
    for run in claimed.runs:
        await execute(resources, AtWork(run))
    run_id: str = bought.json()["run_id"]
    return run_id
