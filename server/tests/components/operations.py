"""Every operation of the OpenAPI document, for tests that are generated from it."""

import asyncio
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from guardhouse.http import contract
from guardhouse.http.app import create_app
from server.tests.components.opened import opened

FILLED = {
    name: str(UUID(int=7))
    for name in (
        "key_id",
        "score_id",
        "member_id",
        "session_id",
        "client_id",
        "secret_id",
        "issuer_id",
        "webhook_id",
        "delivery_id",
        "replay_id",
        "channel_id",
        "token_id",
        "project_id",
    )
}
FILLED |= {"unread_id": "7", "code": "not_found", "tenant_id": str(UUID(int=7)), "plan": "basic"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``scopes``: any of these opens it; None: it is open to anybody."""

    id: str
    method: str
    path: str
    scopes: frozenset[str] | None
    described: dict[str, Any]

    @property
    def url(self) -> str:
        """The path with something plausible for each parameter."""
        url = self.path
        for parameter in self.described.get("parameters", ()):
            if parameter["in"] == "path":
                name = parameter["name"]
                url = url.replace(f"{{{name}}}", FILLED.get(name, "nothing"))
        return url

    async def call(self, client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
        """Call it with an empty body; HEAD stands for GET, so that a stream ends."""
        body = b"{}" if "requestBody" in self.described else None
        sent = headers | ({"Content-Type": "application/json"} if body else {})
        method = "HEAD" if self.method == "GET" else self.method
        return await client.request(method, self.url, content=body, headers=sent)


async def operations_of(client: httpx.AsyncClient) -> list[Operation]:
    """Return every operation of the document that the application serves."""
    return _listed((await client.get("/api/v1/openapi.json")).json())


@cache
def document() -> dict[str, Any]:
    """Return the document, before any test runs: the application is assembled, nothing connects."""

    async def make() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            async with opened("postgresql://nowhere.invalid/none", Path(folder)) as resources:
                return contract.document(create_app(resources))

    return asyncio.run(make())


@cache
def documented() -> tuple[Operation, ...]:
    """Return every operation, to make a test of each."""
    return tuple(_listed(document()))


def _listed(document: dict[str, Any]) -> list[Operation]:
    found = []
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            security = described.get("security")
            scopes = (
                None
                if security is None
                else frozenset(s for way in security for named in way.values() for s in named)
            )
            found.append(Operation(described["operationId"], method.upper(), path, scopes, described))
    return found
