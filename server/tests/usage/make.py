"""Builders for tests of usage."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.caller import Caller, Limits
from guardhouse.usage import plans, store
from guardhouse.usage.log import UsageRow
from guardhouse.usage.plans import Plan


@dataclass
class Ticks:
    """A microsecond clock that a test moves."""

    at: int = 10**12

    def __call__(self) -> int:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += round(seconds * 1_000_000)


@dataclass
class Someone:
    """A caller that no database knows."""

    minute: int | None = None
    day: int | None = None
    tenant: TenantKey = field(default_factory=lambda: TenantKey(uuid4(), 1))

    def caller(self) -> Caller:
        return Caller(
            tenant=self.tenant,
            tenant_slug="acme",
            kind="key",
            role="admin",
            scopes=frozenset(),
            credential_id=str(uuid4()),
            limits=Limits(self.minute, self.day),
        )


async def give_plan(
    resources: Resources, tenant_id: UUID, *, per_minute: int | None = None, per_day: int | None = None
) -> Plan:
    """Put a tenant on a plan of its own."""
    plan = Plan(f"plan-{tenant_id}", per_minute, per_day, 1)
    async with system_transaction(resources.database) as tx:
        await plans.put_plan(tx, plan)
        return await plans.set_plan_of(tx, resources.clock, tenant_id, plan.name)


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.02)


async def log_rows(
    resources: Resources, tenant_id: UUID, credentials: Sequence[str], since: datetime, count: int
) -> None:
    """Log requests spread evenly from an instant to now: several operations, statuses and sizes."""
    now = datetime.now(UTC)
    step = (now - since) / count
    days: dict[date, list[UsageRow]] = defaultdict(list)
    for number in range(count):
        at = since + step * number
        days[at.date()].append(
            UsageRow(
                at,
                tenant_id,
                "key",
                credentials[number % len(credentials)],
                None,
                ("GET", "POST")[number % 2],
                f"/api/v1/thing{number % 3}",
                (200, 200, 404, 429, 500)[number % 5],
                number,
                1000 + number * 7,
                1 + number % 2,
            )
        )
    async with system_transaction(resources.database) as tx:
        for day, rows in days.items():
            if not await store.has_day(tx, day):
                await store.create_days(tx, day, ahead=1)
            await store.write_log(tx, day, rows)


async def until_logged(resources: Resources, tenant_id: UUID, count: int) -> None:
    """Wait until the log has so many requests of a tenant."""
    deadline = time.monotonic() + 30
    while True:
        async with system_transaction(resources.database) as tx:
            found = await tx.fetch_value("SELECT count(*) FROM usage_log WHERE tenant_id = $1", tenant_id)
        if found == count:
            return
        assert time.monotonic() < deadline, (found, count)
        await asyncio.sleep(0.05)
