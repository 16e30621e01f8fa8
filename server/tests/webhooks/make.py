"""Endpoints, notices and running loops for tests of webhooks."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import keys, tenants
from guardhouse.identity.caller import Caller
from guardhouse.identity.keys import NewKey
from guardhouse.identity.roles import ROLES
from guardhouse.notices.identity_kinds import KeyRevoked
from guardhouse.notices.publish import HERE, Origin, publish
from guardhouse.webhooks import endpoints, jobs
from guardhouse.webhooks.endpoints import NewEndpoint
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.components.receiver import Behaviour, Receiver, Turn, answer

PATIENCE_SECONDS = 30.0
OPEN_LOOPBACK = ["127.0.0.1/32:*"]
KEY = UUID(int=77)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def caller_of(tenant: TenantKey, role: str = "admin", credential: str = str(KEY)) -> Caller:
    """Return somebody of a tenant."""
    return Caller(tenant, "acme", "key", role, ROLES[role], credential)


async def endpoint(resources: Resources, tenant: TenantKey, url: str, **wanted: Any) -> Endpoint:
    """Register an endpoint that hears of keys."""
    return (await endpoint_and_secret(resources, tenant, url, **wanted))[0]


async def endpoint_and_secret(
    resources: Resources, tenant: TenantKey, url: str, *, own: bool = False, **wanted: Any
) -> tuple[Endpoint, str]:
    """Register an endpoint and return it with its secret."""
    new = NewEndpoint(**{"url": url, "kinds": ("key.*",)} | wanted)
    async with tenant_transaction(resources.database, tenant) as tx:
        return await endpoints.register(tx, resources, caller_of(tenant), new, own=own)


async def say(
    resources: Resources, tenant: TenantKey, *numbers: int, subject: int = 1, origin: Origin = HERE
) -> None:
    """Publish one notice per number, each in its own transaction, all about one key."""
    for number in numbers:
        async with tenant_transaction(resources.database, tenant) as tx:
            data = KeyRevoked(key_id=UUID(int=subject), name=f"n{number}", actor="test")
            await publish(tx, data, tenant_id=tenant.id, subject_seq=number, origin=origin)


@asynccontextmanager
async def running(
    resources: Resources, *loops: Callable[[Resources, asyncio.Event], Awaitable[None]]
) -> AsyncIterator[asyncio.Event]:
    """Run loops for the length of the block: fan-out and dispatcher unless others are named."""
    stop = asyncio.Event()
    started = [
        asyncio.ensure_future(loop(resources, stop))
        for loop in loops or (turning_jobs.turn_notices, jobs.deliver)
    ]
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*started)


async def eventually(true: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds; fail after half a minute."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await true():
            await asyncio.sleep(0.02)


async def rows(resources: Resources, sql: str, *args: object) -> list["asyncpg.Record"]:
    """Read behind the walls."""
    async with system_transaction(resources.database) as tx:
        return await tx.fetch(sql, *args)


async def states(resources: Resources) -> dict[str, int]:
    """Count deliveries by state."""
    found = await rows(resources, "SELECT state, count(*) AS n FROM webhook_deliveries GROUP BY state")
    return {row["state"]: row["n"] for row in found}


async def until_states(resources: Resources, **wanted: int) -> None:
    """Wait until deliveries are in these states and no other."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await states(resources) != wanted:
                await asyncio.sleep(0.02)
    assert await states(resources) == wanted


async def key(resources: Resources, tenant: TenantKey, wanted: NewKey) -> str:
    """Make a key of a tenant and return its text; that it was made is not told."""
    async with system_transaction(resources.database) as tx:
        found = next(one for one in await tenants.list_tenants(tx) if one.key == tenant)
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], found, wanted, created_by="test"
        )
        await tx.run("DELETE FROM notices")
    return text


def names(receiver: Receiver) -> list[str]:
    """Return what came, in order."""
    return [json.loads(request.body)["data"]["name"] for request in receiver.requests]


def failing(*wrong: str, times: int = 1, status: int = 500) -> Behaviour:
    """Refuse these names so many times, take everything else."""
    left = dict.fromkeys(wrong, times)

    async def behave(turn: Turn) -> None:
        name = json.loads(turn.request.body)["data"].get("name")
        if left.get(name, 0):
            left[name] -= 1
            await answer(status)(turn)
        else:
            await turn.write(OK)

    return behave
