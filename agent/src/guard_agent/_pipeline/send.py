"""The way to the server: HTTP requests with the headers of the agent, from the worker's loop.

httpx is loaded, and the client built, in a thread of their own at the first request: both take longer than the
application should wait for the interpreter. No redirect is followed.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio imports it in the worker's thread, where a fork may cut it in two
import contextlib
import importlib
import os
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from guard_agent._pipeline.encode_body import choose_coding, encode_body, load_zstandard
from guard_agent._pipeline.read_answer import Reply
from guard_agent._version import USER_AGENT
from guard_agent.config import AgentConfig
from guard_agent.signing import sign_payload

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
NATIVE_HEADER: Final = "guardhouse-version"
_FORGET_AFTER: Final = 3
T = TypeVar("T")

# Modules that would be imported at the first request, on the loop, and in the middle of which a fork might come.
_LOADED_LATE: Final = (
    "anyio._backends._asyncio",
    "httpcore._backends.anyio",
    "httpcore._backends.auto",
    "encodings.idna",
)
_importing = threading.Lock()
# A fork in the middle of an import would leave the child with import locks that nobody gives back.
os.register_at_fork(
    before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
)


class UnreachableError(Exception):
    """The server gave no answer; the message says why. `timed_out`: it took too long."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Sender:
    """Sends requests to one server. Knows whether it is a Guardhouse (`native`) from what it answers."""

    def __init__(self, config: AgentConfig, install_id: str, own_instance: str | None = None) -> None:
        self.native = False
        self.requests = 0
        self.failures = 0
        self.bytes_sent = 0
        self._config = config
        self._install_id = install_id
        self._own_instance = own_instance
        self._client: Any = None
        self._building = asyncio.Lock()
        self._lacking = 0

    def reopen(self) -> None:
        """Begin anew on the running loop: a client belongs to the loop that it was built on."""
        self._client, self._building = None, asyncio.Lock()

    def follow(self, config: AgentConfig) -> None:
        """Use other credentials from the next request on."""
        self._config = config

    async def post(
        self, path: str, body: bytes, *, instance: str, key: str | None = None, timeout_seconds: float
    ) -> Reply:
        """POST a JSON body, signed and coded as configured; `key` is the idempotency key.

        Raises:
            UnreachableError: no answer came.
        """
        config = self._config
        headers = self._headers(instance)
        if self.native and key is not None:
            headers["Idempotency-Key"] = key
        if config.payload_signing_secret:
            headers["X-Payload-Signature"] = sign_payload(body, secret=config.payload_signing_secret)
        if len(body) >= config.compression_threshold:
            coding = choose_coding(config.compression, enabled=config.compression_enabled, native=self.native)
            if coding != "none":
                headers["Content-Encoding"] = coding
                body = encode_body(body, coding)
        self.bytes_sent += len(body)
        return await self._request("POST", path, headers, body, timeout_seconds)

    async def get(
        self, path: str, *, instance: str, headers: dict[str, str] | None = None, timeout_seconds: float
    ) -> Reply:
        """GET a document.

        Raises:
            UnreachableError: no answer came.
        """
        return await self._request(
            "GET", path, self._headers(instance) | (headers or {}), None, timeout_seconds
        )

    async def close(self) -> None:
        """Close all connections; the next request would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.aclose()
            # Transports close in the turn of the loop after the one that asked for it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do something long in a thread, or here where the interpreter is ending and starts no thread any more."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work)
        except RuntimeError:
            return work()

    @property
    def is_open(self) -> bool:
        """Tell whether a client has been built."""
        return self._client is not None

    def _headers(self, instance: str) -> dict[str, str]:
        config = self._config
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "X-API-Key": config.api_key,
            "X-Agent-Install-Id": self._install_id,
            # From the first request on, when nobody knows yet whose server this is: a batch that does not say whose it
            # is could not be laid beside the ledger of its process.
            "X-Guardhouse-Instance": instance,
        }
        if self._own_instance not in (None, instance):
            headers["X-Guardhouse-Heir"] = self._own_instance  # for a dead one, which is not heard by this
        if config.project_id:
            headers["X-Project-ID"] = config.project_id
        return headers

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, timeout_seconds: float
    ) -> Reply:
        self.requests += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                client = await self._built()
                reply = await _ask(client, method, self._config.endpoint + path, headers, body)
        except TimeoutError:
            self.failures += 1
            raise UnreachableError("no answer in time", timed_out=True) from None
        except Exception as error:  # httpx, ssl, h11, anyio and the operating system all have their own
            self.failures += 1
            raise UnreachableError(_clause(error), timed_out="Timeout" in type(error).__name__) from error
        self._note(reply)
        return reply

    async def _built(self) -> Any:
        async with self._building:
            if self._client is None:
                self._client = await self.aside(lambda: _build(self._config))
            return self._client

    def _note(self, reply: Reply) -> None:
        if NATIVE_HEADER in reply.headers:
            self.native, self._lacking = True, 0
        elif self.native:
            self._lacking += 1
            self.native = self._lacking < _FORGET_AFTER
        if reply.status >= HTTPStatus.BAD_REQUEST:
            self.failures += 1


async def _ask(client: Any, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Reply:
    async with client.stream(method, url, headers=headers, content=body) as response:
        content = bytearray()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                raise UnreachableError("its answer is longer than 8 MiB")
        found = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, found, bytes(content))


def _build(config: AgentConfig) -> Any:
    with _importing:
        httpx = importlib.import_module("httpx")
        for name in _LOADED_LATE:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        load_zstandard()
    return httpx.AsyncClient(
        verify=_trust(config),
        http2=config.http2,
        trust_env=config.trust_env,
        follow_redirects=False,
        timeout=httpx.Timeout(float(config.timeout)),
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
    )


def _trust(config: AgentConfig) -> "ssl.SSLContext | bool":
    if config.endpoint.startswith("http://"):
        return False  # there is nothing to verify, and reading the bundle of certificates takes long
    if config.ca_file is not None:
        return ssl.create_default_context(cafile=str(config.ca_file))
    return True


def _clause(error: BaseException) -> str:
    if isinstance(error, UnreachableError):
        return str(error)
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return f"{type(error).__name__}: {said}"[:200] if said else type(error).__name__
