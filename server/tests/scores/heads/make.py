"""Heads as they are stored, and processes that they look at."""

from datetime import datetime, timedelta
from typing import Any

from guardhouse.analysis.risk.head import Head
from guardhouse.analysis.risk.surprise import call_number
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.scores.heads import store
from guardhouse.scores.heads.jobs import train_heads
from guardhouse.scores.heads.store import StoredHead
from server.tests.ingest.make import Door

HEADS = "/api/v1/risk/heads"


def weighs(version: int, calls: str, micro: int = 3_000_000) -> Head:
    """Return a head to which single calls weigh so much."""
    words = {1 << 12 | call_number(name): micro for name in calls.split()}
    return Head(version, "native.v1", -500_000, words)


async def keep(door: Door, made: Head, state: str = "shadow", **members: Any) -> None:
    """Store a head as training would have."""
    fields: dict[str, Any] = {"auc": 0.95, "created_at": door.now} | members
    head = StoredHead(made.version, made.alphabet, state, confirmed=50, harmless=500, **fields)
    async with tenant_transaction(door.resources.database, door.tenant) as tx:
        assert await store.add(tx, door.tenant.no, head, made.pack())


async def run_daily(resources: Resources) -> None:
    """Do what the daily job does."""
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, resources.clock.now(), "")
    await train_heads.run(JobContext(resources, claimed))


async def states(door: Door) -> dict[int, str]:
    """Return the states of the tenant's heads by version, as the list shows them."""
    answer = await door.client.get(HEADS, headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    return {head["version"]: head["state"] for head in answer.json()["data"]}


def calls_of(pid: int, names: list[str], at: datetime, seq: int) -> list[dict[str, Any]]:
    """Return calls of a process of its own, a second apart."""
    return [
        {"pid": pid, "start": 1, "exe": "/srv/app", "syscall": name, "seq": seq + n}
        | {"timestamp": (at + timedelta(seconds=n)).isoformat()}
        for n, name in enumerate(names)
    ]
