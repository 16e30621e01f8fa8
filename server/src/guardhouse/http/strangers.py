"""Calls without a credential are limited by their address, before any work is done for them.

Health, metrics, the token endpoint and the addresses of imports are not: probes must get through, and the others have
a limit on failures of their own.
"""

from typing import Final

from fastapi import Request
from starlette.types import Scope

from guardhouse.foundation import peer
from guardhouse.foundation.errors import Problem
from guardhouse.usage.limits import Limiter

CREDENTIALS: Final = frozenset(
    {b"x-api-key", b"authorization", b"signature-input", b"x-agent-signature", b"cookie"}
)
UNMETERED_PATHS: Final = frozenset({"/healthz", "/readyz", "/health", "/metrics"})
UNMETERED_PREFIXES: Final = ("/oauth/", "/api/v1/imports/")


async def refuse_stranger(scope: Scope, limiter: Limiter) -> Problem | None:
    """Return the refusal of a call that shows no credential and whose address has made too many of them."""
    path: str = scope["path"]
    if scope["method"] == "OPTIONS" or path in UNMETERED_PATHS or path.startswith(UNMETERED_PREFIXES):
        return None
    if any(name in CREDENTIALS for name, _ in scope["headers"]):
        return None
    try:
        scope["state"]["verdict"] = await limiter.admit_address(peer.current().address)
    except Problem as problem:
        return problem
    return None


async def meter_open_route(request: Request) -> None:
    """Limit a route that is open to anybody also for those who show a credential there, which nobody looks at.

    Raises:
        RateLimitExceeded: the address has made too many calls.
    """
    if not hasattr(request.state, "verdict"):
        limiter: Limiter = request.app.state.limiter
        request.state.verdict = await limiter.admit_address(peer.current().address)
