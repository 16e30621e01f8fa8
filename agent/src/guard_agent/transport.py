# This module belongs to guardhouse-agent.
"""The way to a collector for applications that keep their own queue: what is sent here is sent now, or not at all.

The handler of this library does not use it: its engine keeps what it cannot deliver. Both send the same bytes.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import METRIC, NORMAL
from guard_agent._pipeline.read_answer import (
    Conflict,
    Delivered,
    KeyRefused,
    NoSuchDoor,
    Refused,
    Transient,
    Verdict,
    Wait,
    read_answer,
)
from guard_agent._pipeline.redact import Redactor
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.send import Sender, UnreachableError
from guard_agent._pipeline.serialise import UnserialisableError, as_model, serialise
from guard_agent._pipeline.split_batch import reseal, split_batch
from guard_agent.config import AgentConfig
from guard_agent.encryption import EncryptionConfigError, EncryptionError, PayloadEncryptor, create_encryptor
from guard_agent.exceptions import GuardAgentError, PermanentClientError
from guard_agent.install_id import resolve_install_id
from guard_agent.models import AgentStatus, DynamicRules, EventBatch, SecurityEvent, SecurityMetric
from guard_agent.protocols import TransportProtocol
from guard_agent.utils import (
    CircuitBreaker,
    RateLimiter,
    calculate_backoff_delay,
    fire_error_hook,
    generate_batch_id,
)

__all__ = [
    "CircuitBreaker",
    "HTTPTransport",
    "PayloadEncryptor",
    "RateLimiter",
    "TransportProtocol",
    "TransportStats",
]

_logger = logging.getLogger("guard_agent")
_PATHS = {NORMAL: "/api/v1/events", METRIC: "/api/v1/metrics"}
_RELEASED_LIMIT = (100, 60.0)


class TransportStats(dict[str, Any]):
    """Figures of a transport, as a dictionary whose entries can also be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _AgainError(GuardAgentError):
    """It may work later: after `wait` seconds where the collector named them."""

    def __init__(self, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.wait = wait


class HTTPTransport:
    """Sends events, metrics and statuses to a collector, and fetches its rules.

    Two ways to make one: `HTTPTransport(config)`, or by keywords (`backend_url`, `api_key`, `timeout`, `max_retries`,
    `backoff_factor`, `rate_limit_requests`, `rate_limit_period`), which stand for fields of the config and a limit.
    Methods that send return whether the collector has everything; only then it need not be sent again.
    """

    def __init__(  # noqa: PLR0913 - two forms, each argument with a default
        self,
        config: AgentConfig | None = None,
        *,
        backend_url: str | None = None,
        api_key: str | None = None,
        project_id: str | None = None,
        timeout: int | None = None,
        max_retries: int | None = None,
        backoff_factor: float | None = None,
        rate_limit_requests: int = _RELEASED_LIMIT[0],
        rate_limit_period: float = _RELEASED_LIMIT[1],
    ) -> None:
        given = {
            "endpoint": backend_url,
            "api_key": api_key,
            "project_id": project_id,
            "timeout": timeout,
            "retry_attempts": max_retries,
            "backoff_factor": backoff_factor,
        }
        named = {name: value for name, value in given.items() if value is not None}
        base = {} if config is None else dict(config)
        self.config = config if config is not None and not named else AgentConfig(**base | named)
        self.circuit_breaker = CircuitBreaker()
        self.rate_limiter = RateLimiter(rate_limit_requests, rate_limit_period)
        self._encryptor: PayloadEncryptor | None = None
        self._sender = Sender(self.config, resolve_install_id(override=self.config.install_id))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._instance = str(uuid.uuid4())
        self._delivered = 0
        self._begun = time.monotonic()

    async def initialize(self) -> None:
        """Make ready to send; every method does so by itself.

        Raises:
            EncryptionConfigError: encryption is configured and cannot work.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._sender.reopen()
        if self._encryptor is None and self.config.project_encryption_key:
            try:
                self._encryptor = create_encryptor(self.config.project_encryption_key)
            except EncryptionError as error:
                raise EncryptionConfigError(str(error)) from error

    async def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        await self._sender.close()

    async def send_events(self, events: list[SecurityEvent]) -> bool:
        """Send events, in as many requests as their sizes take."""
        return await self._send(NORMAL, SecurityEvent, events)

    async def send_metrics(self, metrics: list[SecurityMetric]) -> bool:
        """Send metrics, in as many requests as their sizes take."""
        return await self._send(METRIC, SecurityMetric, metrics)

    async def send_batch(self, batch: EventBatch) -> bool:
        """Send the events and the metrics of a batch."""
        events = await self.send_events(batch.events)
        return await self.send_metrics(batch.metrics) and events

    async def send_status(self, status: AgentStatus) -> bool:
        """Send a status."""
        body = status.model_dump_json().encode()
        return isinstance(await self._try(lambda: self._post("/api/v1/status", body, 0)), Delivered)

    async def send_heartbeat(self, status: AgentStatus | None = None) -> bool:
        """Send `status`, or one that says only that this transport is there."""
        figures = AgentStatus(
            timestamp=datetime.now(UTC),
            status="healthy" if self.circuit_breaker.state == "CLOSED" else "degraded",
            uptime=time.monotonic() - self._begun,
            events_sent=self._delivered,
            events_failed=0,
            buffer_size=0,
        )
        return await self.send_status(status or figures)

    async def fetch_dynamic_rules(self) -> DynamicRules | None:
        """Return the rules of the collector; None where it has none, cannot be asked, or says something unreadable."""
        await self.initialize()
        try:
            reply = await self._sender.get(
                "/api/v1/rules", instance=self._instance, timeout_seconds=float(self.config.timeout)
            )
            if reply.status != HTTPStatus.OK or reply.content.strip() in (b"", b"{}", b"null"):
                return None
            return DynamicRules.model_validate_json(reply.content)
        except (UnreachableError, ValueError) as error:
            self._tell(error, "fetch_dynamic_rules")
            return None

    async def update_rules(self) -> DynamicRules | None:
        """Do as `fetch_dynamic_rules`."""
        return await self.fetch_dynamic_rules()

    async def test_connection(self) -> bool:
        """Tell whether the collector answers and accepts the key."""
        await self.initialize()
        try:
            reply = await self._sender.get(
                "/api/v1/rules", instance=self._instance, timeout_seconds=float(self.config.timeout)
            )
        except UnreachableError:
            return False
        return reply.status < HTTPStatus.BAD_REQUEST

    def get_stats(self) -> TransportStats:
        """Return counts since the transport was made, and the state of its breaker."""
        return TransportStats(
            requests_sent=self._sender.requests - self._sender.failures,
            requests_failed=self._sender.failures,
            bytes_sent=self._sender.bytes_sent,
            circuit_breaker_state=self.circuit_breaker.state,
            failure_count=self.circuit_breaker.failure_count,
            session_closed=not self._sender.is_open,
        )

    async def _send(
        self,
        kind: str,
        model: type[SecurityEvent | SecurityMetric],
        items: Sequence[SecurityEvent | SecurityMetric],
    ) -> bool:
        if not items:
            return True
        await self.initialize()
        batches = self._seal(kind, model, items)
        outcomes = [await self._deliver(batch) for batch in batches]
        return all(outcomes)

    def _seal(
        self,
        kind: str,
        model: type[SecurityEvent | SecurityMetric],
        items: Sequence[SecurityEvent | SecurityMetric],
    ) -> list[Batch]:
        """Return the batches of items; one that cannot be written as JSON is told to the hook and left out."""
        redactor = Redactor(self.config.sensitive_headers, self.config.max_payload_size)
        sealer = Sealer(self.config, Account(self._instance), self._encryptor)
        now, batches = time.monotonic(), []
        for number, item in enumerate(items):
            try:
                body = serialise(as_model(item, model), redactor).body
            except UnserialisableError as error:
                self._tell(error, "serialize")
                continue
            batches += sealer.add(kind, body, place="memory", last=number, now=now)
        return [*batches, *(sealer.seal(open_kind, now) for open_kind in sealer.kinds())]

    async def _deliver(self, batch: Batch) -> bool:
        """Send one batch. What a collector refuses is sent in halves, until the one item that it refuses is alone."""
        path = "/api/v1/events/encrypted" if batch.encrypted else _PATHS[batch.kind]
        body = batch.body or b""
        verdict = await self._try(lambda: self._post(path, body, batch.count, key=batch.id))
        match verdict:
            case Delivered(delivered, duplicates):
                self._delivered += delivered + duplicates
                return True
            case Conflict() if not batch.resealed:
                return await self._deliver(reseal(batch, body, self._encryptor, generate_batch_id()))
            case Refused(code, detail, too_large):
                if batch.count > 1:
                    first, second = split_batch(batch, body, self._encryptor)
                    done = await self._deliver(first)
                    return await self._deliver(second) and done
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.UNPROCESSABLE_ENTITY
                self._tell(PermanentClientError(status, f"{code}: {detail}"), "transport_send")
                return True
            case _:
                return False

    async def _try(self, post: Callable[[], Awaitable[Verdict]]) -> Verdict | None:
        """Return the answer to a request, repeated as often as configured; None where there is none to go by."""
        await self.initialize()
        error = GuardAgentError("not sent")
        for attempt in range(self.config.retry_attempts + 1):
            try:
                return await self._ask(post)
            except _AgainError as again:
                error = again
                if attempt < self.config.retry_attempts:
                    delay = calculate_backoff_delay(attempt, self.config.backoff_factor)
                    await asyncio.sleep(delay if again.wait is None else again.wait)
            except GuardAgentError as refused:
                error = refused
                break
        self._tell(error, "transport_send")
        return None

    async def _ask(self, post: Callable[[], Awaitable[Verdict]]) -> Verdict:
        await self._take_turn()
        verdict: Verdict = await self.circuit_breaker.call(post)
        if isinstance(verdict, Wait):
            if verdict.seconds > self.config.timeout:
                raise GuardAgentError(verdict.detail)
            raise _AgainError(verdict.detail, verdict.seconds)
        return verdict

    async def _take_turn(self) -> None:
        """Wait for the limit of requests, `timeout` at most."""
        while not await self.rate_limiter.acquire():
            wait = self.rate_limiter.get_retry_after()
            if wait > self.config.timeout:
                raise GuardAgentError(f"the limit of requests is used up for {wait:.0f} s")
            await asyncio.sleep(wait)

    async def _post(self, path: str, body: bytes, count: int, *, key: str | None = None) -> Verdict:
        """Return what an answer means; raise what the breaker counts as a failure of the collector."""
        try:
            reply = await self._sender.post(
                path, body, instance=self._instance, key=key, timeout_seconds=float(self.config.timeout)
            )
        except UnreachableError as error:
            raise _AgainError(str(error)) from error
        verdict = read_answer(reply, count)
        if isinstance(verdict, Transient):
            raise _AgainError(verdict.detail)
        if isinstance(verdict, (KeyRefused, NoSuchDoor)):
            raise GuardAgentError(verdict.detail)
        return verdict

    def _tell(self, error: BaseException, stage: str) -> None:
        _logger.warning("%s: %s", stage, error)
        fire_error_hook(self.config.on_error, _logger, stage, error, {"endpoint": self.config.endpoint})
