"""A door to send telemetry through, and telemetry to send."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx

from guardhouse.events import partitions
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.http.app import create_app
from server.tests.components.opened import add_tenant


@dataclass(frozen=True, slots=True)
class Door:
    """The application with one tenant's key; ``rows`` looks behind the walls."""

    client: httpx.AsyncClient
    resources: Resources
    tenant: TenantKey
    key: str
    behind: "asyncpg.Connection[asyncpg.Record]"

    @property
    def now(self) -> datetime:
        """The time of the application's clock."""
        return self.resources.clock.now()

    async def post(self, path: str, body: Any, **headers: str | None) -> httpx.Response:
        """Send a body (bytes as they are, anything else as JSON) with the tenant's key; ``None`` drops a header."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named: dict[str, str | None] = {"x-api-key": self.key, "content-type": "application/json"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in named.items() if value is not None}
        return await self.client.post(path, content=content, headers=sent)

    async def events(self, body: Any, **headers: str | None) -> httpx.Response:
        """Send to the path that both families share."""
        return await self.post("/api/v1/events", body, **headers)

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Return rows as the superuser sees them."""
        return await self.behind.fetch(sql, *args)

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        found: int = await self.behind.fetchval(f"SELECT count(*) FROM {table}")
        return found

    def event(self, **fields: Any) -> dict[str, Any]:
        """Return an app event of a second ago."""
        return {
            "timestamp": (self.now - timedelta(seconds=1)).isoformat(sep=" "),
            "event_type": "penetration_attempt",
            "ip_address": "192.0.2.20",
            "metadata": {},
        } | fields

    def metric(self, **fields: Any) -> dict[str, Any]:
        """Return a metric of a second ago."""
        return {
            "timestamp": (self.now - timedelta(seconds=1)).isoformat(sep=" "),
            "metric_type": "request_count",
            "value": 1.0,
            "tags": {"endpoint": "/", "method": "GET"},
        } | fields


def batch(
    events: list[Any] | None = None, metrics: list[Any] | None = None, batch_id: str = "b-1", **more: Any
) -> dict[str, Any]:
    """Return an app batch."""
    return {"batch_id": batch_id, "events": events or [], "metrics": metrics or []} | more


def packed(body: Any) -> bytes:
    """Return a body as gzip."""
    return gzip.compress(json.dumps(body).encode())


@asynccontextmanager
async def open_door(
    resources: Resources, superuser_url: str, *, slug: str = "acme", role: str = "admin"
) -> AsyncIterator[Door]:
    """Open the application over Resources, with a tenant of its own."""
    tenant, key = await add_tenant(resources, slug, role=role)
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, resources.clock.now().date())
    behind = await asyncpg.connect(superuser_url)
    app = create_app(resources)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://guard.example") as client:
            yield Door(client, resources, tenant, key, behind)
    finally:
        await app.state.detection_desk.close()
        await behind.close()


def counts(answer: httpx.Response) -> tuple[int, int, int, int]:
    """Return accepted, duplicates, rolled up and rejected of an answer 200."""
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["success"] is True
    assert "errors" not in said
    return said["accepted"], said["duplicates"], said["rolled_up"], said["rejected"]
