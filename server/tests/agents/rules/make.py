"""Projects with rules, and the people and agents that ask for them, for tests."""

from dataclasses import dataclass
from typing import Any

import httpx

from guardhouse.agents.resolve_project import Project, resolve_project
from guardhouse.audit.record import Actor
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.identity import make


@dataclass(frozen=True, slots=True)
class Shop:
    """A project of a tenant, with the headers of its admin and of its agent."""

    client: httpx.AsyncClient
    resources: Resources
    tenant: TenantKey
    project: Project
    admin: dict[str, str]
    agent: dict[str, str]

    @property
    def url(self) -> str:
        """Where its rules are."""
        return f"/api/v1/projects/{self.project.id}/rules"

    async def add(self, kind: str = "ban_net", /, *, value: dict[str, Any], **members: Any) -> dict[str, Any]:
        """Make a rule and return it."""
        answer = await self.post(kind, value=value, **members)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def post(self, kind: str, /, **members: Any) -> httpx.Response:
        """Ask for a rule."""
        return await self.client.post(self.url, json={"kind": kind} | members, headers=self.admin)

    async def apply(self, operations: list[dict[str, Any]], **body: Any) -> httpx.Response:
        """Apply operations together."""
        asked = {"operations": operations} | body
        answer = await self.client.post(f"{self.url}:apply", json=asked, headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """Return what notices of a kind say, in order."""
        async with system_transaction(self.resources.database) as tx:
            rows = await tx.fetch("SELECT data FROM notices WHERE kind = $1 ORDER BY epoch, txid, id", kind)
        return [row[0] for row in rows]

    async def poll(self, **headers: str) -> httpx.Response:
        """Ask for the document as its agent does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get("/api/v1/rules", headers=self.agent | named)

    async def document(self, **headers: str) -> dict[str, Any]:
        """Return the document that its agent gets."""
        answer = await self.poll(**headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def shop(client: httpx.AsyncClient, resources: Resources) -> Shop:
    """Make a project with an admin and an agent."""
    tenant = await make.tenant(resources)
    async with system_transaction(resources.database) as tx:
        project = await resolve_project(
            tx, resources.clock, tenant.key, bound=None, named="shop", by=Actor(tenant.key.id, "test")
        )
    _, admin = await make.key(resources, tenant)
    _, agent = await make.key(resources, tenant, "agent", project_id=project.id)
    return Shop(client, resources, tenant.key, project, make.bearing(admin), make.bearing(agent))
