"""An issuer that a test writes itself, on a real socket: metadata, keys, and tokens of any kind."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from server.tests.components.receiver import Receiver, Turn, answer, receiving
from server.tests.identity.oauth import make as oauth
from server.tests.identity.oauth.make import Key

AUDIENCE = "https://guard.example/api"
URL = "/api/v1/identity/issuers"


@dataclass(slots=True)
class OwnIssuer:
    """The issuer. ``down`` makes it answer 503; ``metadata`` is added to what it says of itself."""

    receiver: Receiver
    keys: list[Key] = field(default_factory=lambda: [oauth.key()])
    down: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.receiver.url("")

    async def behave(self, turn: Turn) -> None:
        """Answer as an issuer does."""
        path = turn.request.path.partition("?")[0]
        said: dict[str, Any] = {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                **self.metadata,
            },
            "/jwks": oauth.public(*self.keys),
            "/token": self.tokens,
        }
        status = 503 if self.down else 200 if said.get(path) else 400
        await answer(status, json.dumps(said.get(path, {})).encode(), Content_Type="application/json")(turn)

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(request.path == path for request in self.receiver.requests)

    def claims(self, now: datetime, **changed: Any) -> dict[str, Any]:
        """Return the claims of a good bearer token, some changed or (None) left out."""
        instant = int(now.timestamp())
        said = {
            "iss": self.issuer, "aud": AUDIENCE, "sub": "ada", "iat": instant, "exp": instant + 300, "roles": ["staff"],
        } | changed  # fmt: skip
        return {name: value for name, value in said.items() if value is not None}

    def token(self, now: datetime, **changed: Any) -> str:
        """Return a bearer token, signed with the first key."""
        return oauth.sign(self.keys[0], "ES256", self.claims(now, **changed))


@asynccontextmanager
async def own_issuer() -> AsyncIterator[OwnIssuer]:
    """Run an issuer for the length of a test."""

    async def later(turn: Turn) -> None:
        await made.behave(turn)

    async with receiving(later) as receiver:
        made = OwnIssuer(receiver)
        yield made


def wanted(issuer: str, /, **changed: Any) -> dict[str, Any]:
    """Return the body that trusts an issuer."""
    return {
        "name": "staff", "issuer": issuer, "audience": AUDIENCE, "algorithms": ["ES256"],
        "role_map": {"staff": "viewer", "chiefs": "admin"},
    } | changed  # fmt: skip


async def trust(
    client: httpx.AsyncClient, admin: dict[str, str], issuer: str, **changed: Any
) -> dict[str, Any]:
    """Trust an issuer; return its shape with its ETag."""
    made = await client.post(URL, json=wanted(issuer, **changed), headers=admin)
    assert made.status_code == 201, made.text
    return {**made.json(), "etag": made.headers["etag"]}
