"""The one middleware: correlation id, limits of the request line, security headers, HEAD, metrics, access log.

It is the outermost layer, so that a fault anywhere below still leaves as a problem.
"""

import time
from typing import Any, Final
from urllib.parse import unquote

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardhouse.foundation import correlation, logs, peer
from guardhouse.foundation.errors import HeadersTooLarge, InvalidText, Problem, UriTooLong
from guardhouse.foundation.resources import Resources
from guardhouse.http import exposed_keys
from guardhouse.http.problems import InternalError, render
from guardhouse.identity import key_format
from guardhouse.identity.refusals import RawKeyInUrl

MAX_TARGET_BYTES: Final = 8 << 10
MAX_HEADER_BYTES: Final = 32 << 10
MAX_AGENT: Final = 300
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics", "/health"})
_log = logs.get(__name__)

REQUESTS: Final = Counter(
    "guardhouse_http_requests_total", "Requests answered.", ["route", "method", "status"]
)
DURATION: Final = Histogram(
    "guardhouse_http_request_duration_seconds",
    "Time from the request's head to the answer's last byte.",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_FLIGHT: Final = Gauge("guardhouse_http_in_flight", "Requests being answered now.")


class Frame:
    """Wraps the application. Headers that never change are encoded once."""

    def __init__(self, app: ASGIApp, resources: Resources) -> None:
        self.app = app
        self.resources = resources
        self.public_url = resources.settings.public_url
        fixed = {
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "guardhouse-version": "1",
        }
        if self.public_url.startswith("https://"):
            fixed["strict-transport-security"] = "max-age=31536000"
        self.fixed = [(name.encode(), value.encode()) for name, value in fixed.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "state": scope.get("state", {})}  # ours to change; the server keeps its own
        answer = _Answer(scope, send, self.fixed)
        IN_FLIGHT.inc()
        try:
            refusal = _refuse_head(scope)
            if isinstance(refusal, RawKeyInUrl):
                await exposed_keys.tell(self.resources, key_format.find_keys(_target(scope)))
            if refusal is not None:
                await render(refusal, public_url=self.public_url)(scope, receive, answer.send)
            else:
                await self.app(scope, _nothing_more if answer.head else receive, answer.send)
        except Exception as error:
            _log.exception("request_crashed", path=scope["path"], error=type(error).__name__)
            if answer.status:
                raise  # too late to say anything; the server cuts the connection
            await render(InternalError(), public_url=self.public_url)(scope, receive, answer.send)
        finally:
            IN_FLIGHT.dec()
            answer.record()


class _Answer:
    """What is known of one answer while it goes out."""

    __slots__ = ("fixed", "head", "method", "scope", "send_on", "started", "status")

    def __init__(self, scope: Scope, send: Send, fixed: list[tuple[bytes, bytes]]) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.send_on = send
        self.fixed = fixed
        self.status = 0
        self.method = scope["method"]
        self.head = self.method == "HEAD"
        if self.head:
            scope["method"] = "GET"
        headers = dict(reversed(scope["headers"]))  # the first of each name
        offered = headers.get(b"x-correlation-id")
        correlation.begin(None if offered is None else offered.decode("latin-1"))
        client = scope.get("client")
        said = headers.get(b"user-agent", b"").decode("latin-1")[:MAX_AGENT]
        peer.begin(peer.Peer(client[0] if client else None, said or None))

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers, and without a body for HEAD."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[tuple[bytes, bytes]] = list(message["headers"])
            names = {name for name, _ in headers}
            headers += [pair for pair in self.fixed if pair[0] not in names]
            elapsed = (time.perf_counter() - self.started) * 1000
            identifier = correlation.current().encode()
            headers += [
                (b"x-correlation-id", identifier),
                (b"x-request-id", identifier),
                (b"x-response-time", b"%.2fms" % elapsed),
            ]
            expires = self.scope["state"].get("key_expires")
            if expires is not None:  # set by identity.caller for a key that was replaced
                headers.append((b"guardhouse-key-expires", expires.encode()))
            if b"cache-control" not in names and "tenant" in self.scope["state"]:
                headers.append((b"cache-control", b"no-store"))
            await self.send_on({**message, "headers": headers})
            if self.head:
                await self.send_on({"type": "http.response.body", "body": b""})
        elif not self.head:
            await self.send_on(message)

    def record(self) -> None:
        """Count and log the answer under its route template, never its path."""
        seconds = time.perf_counter() - self.started
        route = getattr(self.scope.get("route"), "path", "unmatched")
        labels = (route, self.method if route != "unmatched" else "any", str(self.status or 499))
        REQUESTS.labels(*labels).inc()
        DURATION.labels(*labels).observe(seconds)
        if self.scope["path"] in _QUIET and self.status < 400:  # noqa: PLR2004 - client errors
            return
        fields: dict[str, Any] = {"method": self.method, "route": route, "status": self.status or 499}
        tenant = self.scope["state"].get("tenant")
        if tenant is not None:
            fields["tenant"] = str(tenant.id)
        _log.info("request", **fields, duration_ms=round(seconds * 1000, 2))


async def _nothing_more() -> Message:
    """Tell whoever would stream an answer to HEAD that nobody reads it."""
    return {"type": "http.disconnect"}


def _refuse_head(scope: Scope) -> Problem | None:
    query: bytes = scope["query_string"]
    if len(scope["raw_path"]) + len(query) > MAX_TARGET_BYTES:
        return UriTooLong("The request target is longer than 8 KiB.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return HeadersTooLarge("The headers are larger than 32 KiB.")
    if b"%00" in query or "\0" in scope["path"]:
        return InvalidText("The request target holds a NUL.")
    if (b"gh_" in query or "gh_" in scope["path"]) and key_format.SHAPE.search(_target(scope)):
        return RawKeyInUrl("The URL holds an API key.")
    return None


def _target(scope: Scope) -> str:
    return str(scope["path"]) + "?" + unquote(scope["query_string"].decode("latin-1"))
