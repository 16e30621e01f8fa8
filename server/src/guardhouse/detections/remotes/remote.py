"""One remote engine: ask it for a verdict within a time, and say plainly why there is none.

It is asked over kept connections, through its breaker, and by no more calls at once than it is said to take.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

from guardhouse.detections.remotes.breaker import Breaker, Permit, State
from guardhouse.detections.remotes.go_contract import (
    MOST_BYTES,
    BadAnswerError,
    RemoteVerdict,
    body_of,
    read_answer,
)
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.outbound import Answer, Outbound, Unreachable
from guardhouse.settings import RemoteEngine

HEALTH_SECONDS: Final = 1.0
HEALTH_EVERY_SECONDS: Final = 10.0
_OK, _TIMEOUT, _CLIENT_ERRORS, _SERVER_ERRORS = 200, 408, 400, 500
Health = Literal["healthy", "degraded", "unhealthy", "unreachable"]
_HEALTH: Final[dict[int, Health]] = {200: "healthy", 206: "degraded", 503: "unhealthy"}

FailureReason = Literal[
    "remote_timeout", "remote_unreachable", "remote_error", "remote_bad_answer", "breaker_open", "overloaded"
]
STATES: Final[tuple[State, ...]] = ("closed", "half_open", "open")
STATE: Final = Gauge(
    "guardhouse_breaker_state", "0 closed, 1 half open, 2 open; by remote engine.", ["engine"]
)
ASKED: Final = Counter(
    "guardhouse_detection_remote_requests_total", "Requests to remote engines, by what came of them.",
    ["engine", "outcome"],
)  # fmt: skip
DURATION: Final = Histogram(
    "guardhouse_detection_remote_duration_seconds",
    "Time until a remote engine answered or was given up.",
    ["engine"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


class NoRemoteVerdictError(Exception):
    """The remote engine gave no verdict; ``reason`` is what the answer calls it, ``alive``: it does not ail."""

    def __init__(self, reason: FailureReason, *, alive: bool = False) -> None:
        super().__init__(reason)
        self.reason: FailureReason = reason
        self.alive = alive


@dataclass(slots=True)
class Remote:
    """A remote engine of this process.

    Args:
        name: What the settings call it.
        setting: Where it is and how it is asked.
        outbound: The way out to it.
        changed: Told of each change of the breaker's state: (name, state before, reason of the last failure).
    """

    name: str
    setting: RemoteEngine
    outbound: Outbound
    changed: Callable[["Remote", State, str], None]
    breaker: Breaker = field(default_factory=lambda: Breaker(time.monotonic))
    _slots: asyncio.Semaphore = field(init=False)
    _health: Health = "unreachable"
    _looked: float = float("-inf")

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.setting.max_in_flight)
        STATE.labels(self.name).set(STATES.index(self.breaker.state))

    async def ask(self, text: str, block_milli: int, seconds: float) -> RemoteVerdict:
        """Ask for a verdict.

        Args:
            text: What is judged, as it was sent.
            block_milli: The block threshold, in thousandths; told, not relied on.
            seconds: What is left of the caller's time; the engine's own limit may be less.

        Raises:
            NoRemoteVerdictError: there is none.
        """
        deadline = time.monotonic() + min(seconds, self.setting.timeout_ms / 1_000)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                await self._slots.acquire()
        except TimeoutError:
            raise NoRemoteVerdictError("overloaded") from None
        try:
            before = self.breaker.state
            permit = self.breaker.ask()
            self._tell(before, "")
            if permit is None:
                raise NoRemoteVerdictError("breaker_open")
            return await self._ask(permit, body_of(text, block_milli), deadline)
        finally:
            self._slots.release()

    async def health(self) -> Health:
        """Return what ``GET /health`` of the engine said, at most ten seconds ago."""
        if time.monotonic() - self._looked >= HEALTH_EVERY_SECONDS:
            self._looked = time.monotonic()
            try:
                answer = await self._send("GET", "/health", b"", HEALTH_SECONDS)
                self._health = _HEALTH.get(answer.status, "unhealthy")
            except (Unreachable, EgressRefused):
                self._health = "unreachable"
        return self._health

    async def _ask(self, permit: Permit, body: bytes, deadline: float) -> RemoteVerdict:
        before, begun, outcome = self.breaker.state, time.monotonic(), "given_up"
        try:
            verdict = await self._exchange(body, max(deadline - begun, 0.001))
        except NoRemoteVerdictError as error:
            outcome = error.reason
            (self.breaker.succeeded if error.alive else self.breaker.failed)(permit)
            raise
        except asyncio.CancelledError:
            self.breaker.given_back(permit)  # the caller has hung up
            raise
        else:
            outcome = "answered"
            self.breaker.succeeded(permit)
            return verdict
        finally:
            ASKED.labels(self.name, outcome).inc()
            DURATION.labels(self.name).observe(time.monotonic() - begun)
            self._tell(before, outcome)

    async def _exchange(self, body: bytes, seconds: float) -> RemoteVerdict:
        try:
            answer = await self._send("POST", "/v1/detect", body, seconds)
        except EgressRefused:
            raise NoRemoteVerdictError("remote_unreachable") from None
        except Unreachable as error:
            late = error.reason == "timeout"
            raise NoRemoteVerdictError("remote_timeout" if late else "remote_unreachable") from None
        if answer.status == _TIMEOUT or answer.status >= _SERVER_ERRORS:
            raise NoRemoteVerdictError("remote_error")
        if answer.status >= _CLIENT_ERRORS:  # it is our request that it does not take
            raise NoRemoteVerdictError("remote_error", alive=True)
        if answer.status != _OK or answer.cut:
            raise NoRemoteVerdictError("remote_bad_answer")
        try:
            return read_answer(answer.body, self.setting)
        except BadAnswerError:
            raise NoRemoteVerdictError("remote_bad_answer") from None

    async def _send(self, method: str, path: str, body: bytes, seconds: float) -> Answer:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.setting.auth_header is not None:
            name, _, value = self.setting.auth_header.get_secret_value().partition(":")
            headers[name.strip()] = value.strip()
        return await self.outbound.send(
            method,
            self.setting.url + path,
            headers=headers,
            body=body,
            timeout_seconds=seconds,
            max_bytes=MOST_BYTES,
        )

    def _tell(self, before: State, reason: str) -> None:
        if self.breaker.state != before:
            STATE.labels(self.name).set(STATES.index(self.breaker.state))
            self.changed(self, before, reason)
