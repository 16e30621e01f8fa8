"""The frame around every request: correlation, aliases, limits of head and time, headers, HEAD, metrics, access log.

It is the outermost layer, so that a fault anywhere below still leaves as a problem.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guardhouse.foundation import correlation, logs, peer
from guardhouse.foundation.errors import HeadersTooLarge, InvalidText, Problem, TimedOut, UriTooLong
from guardhouse.foundation.resources import Resources
from guardhouse.http import exposed_keys
from guardhouse.http.aliases import canonical
from guardhouse.http.answer_usage import AnswerUsage
from guardhouse.http.problems import InternalError, render
from guardhouse.http.proxies import Network, client_address
from guardhouse.http.strangers import refuse_stranger
from guardhouse.identity import key_format
from guardhouse.identity.refusals import RawKeyInUrl
from guardhouse.usage.limits import Limiter
from guardhouse.usage.log import UsageLog

MAX_TARGET_BYTES: Final = 8 << 10
MAX_HEADER_BYTES: Final = 32 << 10
MAX_AGENT: Final = 300
REQUEST_SECONDS: Final = 60
_STREAMS: Final = (b"text/event-stream", b"application/x-ndjson")  # as long as somebody reads
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

    def __init__(self, app: ASGIApp, resources: Resources, limiter: Limiter, usage_log: UsageLog) -> None:
        self.app = app
        self.limiter = limiter
        self.usage = AnswerUsage(resources.clock, usage_log, compat=resources.settings.compat_headers)
        self.resources = resources
        self.public_url = resources.settings.public_url
        self.trusted = resources.settings.trusted_proxies
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
        # Ours to change; the server keeps its own.
        scope = {**scope, "state": scope.get("state", {}), "path": canonical(scope["path"])}
        answer = _Answer(scope, send, self.fixed, self.usage)
        answer.identify(self.trusted)
        IN_FLIGHT.inc()
        try:
            refusal = _refuse_head(scope) or await refuse_stranger(scope, self.limiter)
            if isinstance(refusal, RawKeyInUrl):
                await exposed_keys.tell(self.resources, key_format.find_keys(_target(scope)))
            if refusal is not None:
                await render(refusal, public_url=self.public_url)(scope, receive, answer.send)
            else:
                async with asyncio.timeout(REQUEST_SECONDS) as answer.patience:
                    await self.app(scope, _nothing_more if answer.head else receive, answer.send)
        except Exception as error:
            if answer.patience is not None and answer.patience.expired():
                _log.warning("request_timed_out", route=answer.route, seconds=REQUEST_SECONDS)
                problem: Problem = TimedOut(f"The request was not done within {REQUEST_SECONDS} seconds.")
            else:
                _log.exception("request_crashed", path=scope["path"], error=type(error).__name__)
                problem = InternalError()
            if answer.status:
                raise  # too late to say anything; the server cuts the connection
            await render(problem, public_url=self.public_url)(scope, receive, answer.send)
        finally:
            IN_FLIGHT.dec()
            answer.record()


class _Answer:
    """What is known of one answer while it goes out."""

    __slots__ = (
        "fixed", "head", "head_seconds", "method", "patience", "scope", "send_on", "started", "status", "usage",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, send: Send, fixed: list[tuple[bytes, bytes]], usage: AnswerUsage
    ) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.send_on = send
        self.fixed = fixed
        self.usage = usage
        self.head_seconds = 0.0
        self.status = 0
        self.patience: asyncio.Timeout | None = None
        self.method = scope["method"]
        self.head = self.method == "HEAD"
        if self.head:
            scope["method"] = "GET"
            scope["state"]["head"] = True

    def identify(self, trusted: Sequence[Network]) -> None:
        """Put correlation id, trace and peer of the request in force."""
        sent: list[tuple[bytes, bytes]] = self.scope["headers"]
        headers = {name: value.decode("latin-1") for name, value in reversed(sent)}  # the first of each name
        correlation.begin_request(headers.get(b"x-correlation-id"), headers.get(b"traceparent"))
        client = self.scope.get("client")
        address = client[0] if client else None
        if trusted:
            forwarded = [value.decode("latin-1") for name, value in sent if name == b"x-forwarded-for"]
            address = client_address(address, forwarded, trusted)
        peer.begin(peer.Peer(address, headers.get(b"user-agent", "")[:MAX_AGENT] or None))

    @property
    def route(self) -> str:
        """The template of the route that was found."""
        found: str = getattr(self.scope.get("route"), "path", "unmatched")
        return found

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers, and without a body for HEAD."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[tuple[bytes, bytes]] = list(message["headers"])
            names = {name for name, _ in headers}
            if self.patience is not None and _is_stream(headers):
                self.patience.reschedule(None)
            headers += [pair for pair in self.fixed if pair[0] not in names]
            self.head_seconds = time.perf_counter() - self.started
            headers += self.usage.fields(self.scope["state"], names)
            identifier = correlation.current().encode()
            headers += [
                (b"x-correlation-id", identifier),
                (b"x-request-id", identifier),
                (b"x-response-time", b"%.2fms" % (self.head_seconds * 1000)),
                (b"traceparent", (correlation.traceparent() or "").encode()),
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
        route = self.route
        labels = (route, self.method if route != "unmatched" else "any", str(self.status or 499))
        REQUESTS.labels(*labels).inc()
        DURATION.labels(*labels).observe(seconds)
        self.usage.note(self.scope, self.method, self.status or 499, self.head_seconds or seconds)
        if self.scope["path"] in _QUIET and self.status < 400:  # noqa: PLR2004 - client errors
            return
        fields: dict[str, Any] = {"method": self.method, "route": route, "status": self.status or 499}
        tenant = self.scope["state"].get("tenant")
        if tenant is not None:
            fields["tenant"] = str(tenant.id)
        _log.info("request", **fields, duration_ms=round(seconds * 1000, 2))


def _is_stream(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(_STREAMS) for name, value in headers)


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
