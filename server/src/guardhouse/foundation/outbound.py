"""The one way out for HTTP: connections to checked addresses only, no redirects, cookies or surroundings.

A name is resolved and every address judged; the socket factory judges again the address that is really
connected to, so an answer that changes in between reaches nothing.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from guardhouse.foundation.egress import EgressRefused, EgressRules, Target
from guardhouse.foundation.interim_answers import InterimFloodError, few_interim_answers
from guardhouse.foundation.own_addresses import CurrentRules

CONNECT_SECONDS: Final = 5.0
RESOLVE_SECONDS: Final = 3.0
NAME_CACHE_SECONDS: Final = 10
CONNECTION_SECONDS: Final = 60.0
LOOKUPS_AT_ONCE: Final = 64
STALE_CONNECTIONS: Final = 2  # kept connections that may prove closed before a request fails for it
_WHOLE_SECONDS: Final = 1e9  # above which aiohttp would round a deadline up; never

Reason = Literal["dns", "connect", "timeout", "tls", "reset", "protocol"]
Lookup = Callable[[str], Awaitable[Sequence[str]]]  # name → addresses; raises OSError


class Unreachable(Exception):  # noqa: N818 - an outcome that the caller records
    """No answer came. ``reason`` says where it ended, ``address`` what was connected to, if that far."""

    def __init__(self, reason: Reason, sentence: str, address: str | None = None) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason
        self.address = address


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``body`` holds at most what was asked for, undecoded; ``cut``: there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    address: str
    latency_ms: float


@dataclass(slots=True)
class _Attempt:
    """What one request sees on its way, wherever in the client library it happens."""

    target: Target
    address: str | None = None
    reused: bool = False
    refused: EgressRefused | None = None


_attempt: ContextVar[_Attempt] = ContextVar("outbound_attempt")


class _RefusedAddressError(OSError):
    """Ends a connect inside the client library, which passes on what is an OSError."""


class Outbound:
    """Sends HTTP requests under the egress rules; one per process, opened at first use.

    ``lookup`` resolves names and ``tls`` is the trust (both the system's by default); a connection is made within
    ``connect_seconds`` or not.
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        proxy: str | None = None,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self._connect_seconds = connect_seconds
        self._rules = CurrentRules(rules)
        self._proxy = proxy
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
        self._names = _Names(lookup or self._system_lookup)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """Judge a URL by its text alone.

        Raises:
            EgressRefused: against the rules, whatever its name resolves to.
        """
        self._rules.check_url(url)

    async def resolve(self, url: str) -> list[str]:
        """Judge a URL and what its name resolves to now; behind a proxy, which resolves itself, return nothing.

        Raises:
            EgressRefused: against the rules.
            Unreachable: ``dns``, the name does not resolve within three seconds.
        """
        target = self._rules.check_url(url)
        return [] if self._proxy else await self._addresses(target.host, target.port, target.scheme)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_seconds: float = 15.0,
        max_bytes: int = 65_536,
    ) -> Answer:
        """Send one request and return what came back, whatever its status.

        A kept connection that the other side has closed meanwhile is no failure: the request goes out again.

        Raises:
            EgressRefused: against the rules, at the URL or at the address.
            Unreachable: no whole answer within the time.
        """
        attempt = _Attempt(self._rules.check_url(url))
        token = _attempt.set(attempt)
        request = _Request(method, attempt.target, headers, body, max_bytes, time.perf_counter())
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange_on_living(request, attempt)
        except (aiohttp.ClientError, OSError) as error:
            raise _outcome(error, attempt) from error
        finally:
            _attempt.reset(token)

    async def connect(self, host: str, port: int, *, scheme: str) -> tuple[socket.socket, str]:
        """Open a TCP connection to a checked address, for protocols other than HTTP; return socket and address.

        Raises:
            EgressRefused: against the rules.
            Unreachable: ``dns``, ``connect`` or ``timeout``.
        """
        addresses = await self._addresses(host, port, scheme)
        failure = Unreachable("connect", "The connection was refused.")
        for address in addresses:
            self._rules.now().check_address(address, port, scheme=scheme)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            opened = socket.socket(family, socket.SOCK_STREAM)
            opened.setblocking(False)  # noqa: FBT003 - the standard library takes it so
            try:
                async with asyncio.timeout(self._connect_seconds):
                    await asyncio.get_running_loop().sock_connect(opened, (address, port))
            except OSError as error:
                opened.close()
                late = isinstance(error, TimeoutError)
                failure = Unreachable("timeout" if late else "connect", "No connection was made.", address)
            except BaseException:
                opened.close()
                raise
            else:
                return opened, address
        raise failure

    @property
    def trust(self) -> ssl.SSLContext:
        """What certificates are checked with."""
        self._tls = self._tls or ssl.create_default_context()
        return self._tls

    def opened(self, address: str, port: int) -> bool:
        """Tell whether the operator opened this very address and port."""
        return self._rules.now().opened(ip_address(address), port)

    async def close(self) -> None:
        """Close every connection."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            await self._session.close()

    async def _exchange_on_living(self, request: "_Request", attempt: _Attempt) -> Answer:
        for _ in range(STALE_CONNECTIONS):
            attempt.reused = False
            try:
                return await self._exchange(request, attempt)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not attempt.reused:
                    raise
        attempt.reused = False
        return await self._exchange(request, attempt)

    async def _exchange(self, request: "_Request", attempt: _Attempt) -> Answer:
        async with self._opened_session().request(
            request.method,
            request.target.url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            body, cut = await _read(response.content, request.max_bytes)
            if cut:
                response.close()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=body,
                cut=cut,
                address=attempt.address or "",
                latency_ms=(time.perf_counter() - request.began) * 1000,
            )

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Checked(self._resolve_for_connect),
                socket_factory=self._checked_socket,
                ssl=self.trust,
                limit=0,
                ttl_dns_cache=NAME_CACHE_SECONDS,
                keepalive_timeout=CONNECTION_SECONDS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                response_class=_response_class(),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_seconds, ceil_threshold=_WHOLE_SECONDS
                ),
                headers={"User-Agent": "Guardhouse"},
                skip_auto_headers=("Accept-Encoding", "Accept", "Content-Type"),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def _resolve_for_connect(self, host: str, port: int) -> list[str]:
        if self._proxy is not None:
            return list(await self._names.addresses(host))
        return await self._addresses(host, port, _attempt.get().target.scheme)

    async def _addresses(self, host: str, port: int, scheme: str) -> list[str]:
        try:
            found = [str(ip_address(host))]
        except ValueError:
            found = list(await self._names.addresses(host))
        return self._rules.now().check_addresses(found, port, scheme=scheme)

    def _checked_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, (address, port, *_) = info
        attempt = _attempt.get()
        attempt.address = address
        if self._proxy is None:
            try:
                self._rules.now().check_address(address, port, scheme=attempt.target.scheme)
            except EgressRefused as error:
                attempt.refused = error
                raise _RefusedAddressError(str(error)) from error
        return socket.socket(family, kind, protocol)

    async def _system_lookup(self, name: str) -> list[str]:
        loop = asyncio.get_running_loop()
        ask = partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._threads, ask)
        return [str(row[4][0]) for row in found]


@dataclass(slots=True)
class _Request:
    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    max_bytes: int
    began: float


class _Names:
    """Look-ups that end in time, one at once per name: a name server that hangs holds one thread."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._pending: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def addresses(self, name: str) -> Sequence[str]:
        """Return the addresses of a name.

        Raises:
            Unreachable: ``dns``.
        """
        pending = self._pending.get(name)
        if pending is None:
            pending = asyncio.ensure_future(self._ask(name))
            self._pending[name] = pending
            pending.add_done_callback(lambda _task: self._pending.pop(name, None))
        try:
            found = await asyncio.wait_for(asyncio.shield(pending), RESOLVE_SECONDS)
        except (OSError, UnicodeError):
            raise Unreachable("dns", "The host name does not resolve.") from None
        if not found:
            raise Unreachable("dns", "The host name has no address.")
        return found

    async def _ask(self, name: str) -> Sequence[str]:
        return await self._lookup(name)


class _Checked(AbstractResolver):
    """aiohttp's view of our look-ups."""

    def __init__(self, resolve: Callable[[str, int], Awaitable[list[str]]]) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return checked addresses of a name."""
        del family  # both are asked for
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._resolve(host, port)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _response_class() -> type[aiohttp.ClientResponse]:
    """Return a response that notes its connection for the attempt, and lets none live beyond a minute.

    One class per session: it keeps the age of that session's connections.
    """
    opened_at: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    class Noted(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            attempt, now = _attempt.get(), time.monotonic()
            protocol = connection.protocol
            if protocol is not None:
                attempt.reused = protocol in opened_at
                if now - opened_at.setdefault(protocol, now) > CONNECTION_SECONDS:
                    protocol.force_close()
            peer = connection.transport and connection.transport.get_extra_info("peername")
            if peer:
                attempt.address = peer[0]
            with few_interim_answers(protocol):
                return await super().start(connection)

    return Noted


async def _read(content: aiohttp.StreamReader, limit: int) -> tuple[bytes, bool]:
    chunks, size = [], 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return b"".join(chunks)[:limit], size > limit


def _outcome(error: Exception, attempt: _Attempt) -> EgressRefused | Unreachable:
    """Say what a failure of the client library means."""
    if attempt.refused is not None:
        return attempt.refused
    for kinds, reason, sentence in _REASONS:
        if isinstance(error, kinds):
            return Unreachable(reason, sentence, attempt.address)
    return Unreachable("protocol", "The answer is not HTTP.", attempt.address)


_REASONS: Final[tuple[tuple[tuple[type[Exception], ...], Reason, str], ...]] = (
    ((TimeoutError,), "timeout", "No answer came in time."),
    ((aiohttp.ClientConnectorDNSError,), "dns", "The host name does not resolve."),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls", "The certificate or the TLS handshake failed."),
    ((aiohttp.ClientConnectorError,), "connect", "No connection was made."),
    ((aiohttp.ServerDisconnectedError, OSError), "reset", "The connection was closed before an answer."),
    ((aiohttp.ClientPayloadError,), "reset", "The connection was closed within the answer."),
    ((InterimFloodError,), "protocol", "Interim answers came without end, and not the real one."),
)
