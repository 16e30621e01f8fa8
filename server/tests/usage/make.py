"""Builders for tests of usage."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.caller import Caller, Limits
from guardhouse.usage import plans
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


def calling(app: FastAPI, address: str) -> httpx.AsyncClient:
    """Return a client whose calls come from an address."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.02)
