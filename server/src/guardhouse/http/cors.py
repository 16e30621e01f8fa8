"""Which pages may call the API from a browser: exact origins, never `null`, never with cookies.

An origin that is not named gets no CORS header at all, which is how a browser is told no.
"""

import re
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The header takes no prefixes: each name of ours stands for itself.
EXPOSED: Final = (
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Correlation-ID",
    "Idempotency-Replayed",
    "Guardhouse-Version",
    "Guardhouse-Key-Expires",
    "Guardhouse-Degraded",
    "X-Guardhouse-Cost-Reserved",
    "X-Guardhouse-Cost-Used",
    "X-Guardhouse-Cost-Minimum-Fee",
    "X-Guardhouse-Budget-Remaining",
)
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_SECONDS: Final = 600
_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_VARY: Final = (b"vary", b"Origin")


class Cors:
    """Answers preflights of named origins and lets their pages read what comes back."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self.origins = frozenset(origin.encode() for origin in origins if origin != "null")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        named = origin is not None and origin in self.origins
        if named and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(origin or b"", headers.get(b"access-control-request-headers", b""), send)
            return

        async def with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], _VARY]}
                if named:
                    message["headers"] += [
                        (b"access-control-allow-origin", origin or b""),
                        (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
                    ]
            await send(message)

        await self.app(scope, receive, with_origin)


async def _preflight(origin: bytes, asked: bytes, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"content-length", b"0"),
    ]
    if _NAMES.fullmatch(asked):
        headers.append((b"access-control-allow-headers", asked))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
