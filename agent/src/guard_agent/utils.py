# This module belongs to guardhouse-agent.
"""Small tools that the released interface offers to applications; the module's name is part of that interface."""

import asyncio
import hashlib
import inspect
import json
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from guard_agent.config import AgentConfig, validate_config
from guard_agent.exceptions import GuardAgentError, PermanentClientError

__all__ = [
    "AgentConfig",
    "CircuitBreaker",
    "PermanentClientError",
    "RateLimitedError",
    "RateLimiter",
    "SerializationError",
    "calculate_backoff_delay",
    "fire_error_hook",
    "generate_batch_id",
    "get_current_timestamp",
    "hash_ip",
    "parse_retry_after_seconds",
    "safe_json_deserialize",
    "safe_json_serialize",
    "sanitize_headers",
    "summarize_response_body",
    "truncate_payload",
    "validate_config",
]

_logger = logging.getLogger("guard_agent")
REDACTED = "[REDACTED]"
CUT = "...[TRUNCATED]"


class RateLimitedError(Exception):
    """The collector asked to wait `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float, message: str | None = None) -> None:
        super().__init__(message or f"Rate limited by server, retry after {retry_after_seconds}s")
        self.retry_after_seconds = retry_after_seconds


class SerializationError(Exception):
    """A value cannot be written as JSON."""


class RateLimiter:
    """Allows `max_calls` in any `time_window` seconds."""

    def __init__(self, max_calls: int, time_window: float) -> None:
        self.max_calls = max_calls
        self.time_window = time_window
        self.calls: deque[float] = deque()

    async def acquire(self) -> bool:
        """Take one call if one is free, and tell whether it was; never waits."""
        now = time.monotonic()
        self._forget(now)
        if len(self.calls) >= self.max_calls:
            return False
        self.calls.append(now)
        return True

    def get_retry_after(self) -> float:
        """Return the seconds until a call is free, 0.0 where one is."""
        now = time.monotonic()
        self._forget(now)
        if len(self.calls) < self.max_calls:
            return 0.0
        return max(0.0, self.calls[0] + self.time_window - now) if self.calls else self.time_window

    def _forget(self, now: float) -> None:
        while self.calls and self.calls[0] <= now - self.time_window:
            self.calls.popleft()


class CircuitBreaker:
    """Stops calling what failed `failure_threshold` times in a row.

    After `recovery_timeout` seconds exactly one call is let through: its success closes the breaker, its failure opens
    it anew. `state` is `CLOSED`, `OPEN` or `HALF_OPEN`.
    """

    def __init__(self, failure_threshold: int = 5, recovery_timeout: float = 60.0) -> None:
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.failure_count = 0
        self.last_failure_time: float | None = None
        self.state = "CLOSED"

    async def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `func` returns, awaited where it is to be awaited.

        Raises:
            GuardAgentError: the breaker is open, or half open with its one call under way.
        """
        if not self._lets_through():
            raise GuardAgentError(f"Circuit breaker is {self.state}")
        try:
            result = func(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        except asyncio.CancelledError:
            self._let_go()
            raise
        except Exception:
            self._count_failure()
            raise
        self.failure_count, self.state = 0, "CLOSED"
        return result

    def _lets_through(self) -> bool:
        if self.state == "CLOSED":
            return True
        rested = time.monotonic() - (self.last_failure_time or 0.0) >= self.recovery_timeout
        if self.state == "OPEN" and rested:
            self.state = "HALF_OPEN"
            return True
        return False

    def _count_failure(self) -> None:
        self.failure_count += 1
        self.last_failure_time = time.monotonic()
        if self.state == "HALF_OPEN" or self.failure_count >= self.failure_threshold:
            self.state = "OPEN"

    def _let_go(self) -> None:
        """A cancelled call says nothing about the other side; the next one may be the probe."""
        if self.state == "HALF_OPEN":
            self.state = "OPEN"


def generate_batch_id() -> str:
    """Return `<milliseconds since 1970>-<8 random hex>`."""
    return f"{time.time_ns() // 1_000_000}-{secrets.token_hex(4)}"


def get_current_timestamp() -> datetime:
    """Return now, in UTC."""
    return datetime.now(UTC)


def hash_ip(ip: str, salt: str = "") -> str:
    """Return the first 16 hex digits of SHA-256 of address and salt."""
    return hashlib.sha256(f"{ip}{salt}".encode()).hexdigest()[:16]


def sanitize_headers(headers: Any, sensitive_headers: list[str]) -> Any:
    """Return a copy of a mapping of headers with `[REDACTED]` for the sensitive ones; anything else as it is."""
    if not hasattr(headers, "items"):
        return headers
    hidden = {name.lower() for name in sensitive_headers}
    return {name: REDACTED if str(name).lower() in hidden else value for name, value in headers.items()}


def truncate_payload(payload: str, max_size: int) -> str:
    """Return `payload`, cut after `max_size` characters and marked so where it is longer."""
    return payload if len(payload) <= max_size else payload[: max(0, max_size)] + CUT


async def safe_json_serialize(obj: Any) -> str:
    """Return compact JSON; what JSON does not know becomes its text.

    Raises:
        SerializationError: the value contains itself or has no text.
    """
    try:
        return json.dumps(obj, default=str, separators=(",", ":"))
    except Exception as error:  # a value's own __str__ may raise anything
        raise SerializationError(f"Failed to serialize to JSON: {error}") from error


async def safe_json_deserialize(json_str: str) -> dict[str, Any] | None:
    """Return the object of a JSON text, None (and a log line) for anything else."""
    try:
        value = json.loads(json_str)
    except (ValueError, TypeError, RecursionError) as error:
        _logger.warning("Failed to deserialize JSON: %s", error)
        return None
    return value if isinstance(value, dict) else None


def calculate_backoff_delay(attempt: int, base_delay: float = 1.0, max_delay: float = 60.0) -> float:
    """Return the seconds before retry `attempt` (from 0): uniform up to min(`max_delay`, `base_delay`·2^attempt).

    Full jitter keeps many agents from returning at the same moment ("Exponential Backoff and Jitter", AWS, 2015).
    """
    ceiling = min(max_delay, base_delay * 2 ** min(max(attempt, 0), 64))
    return random.uniform(0.0, ceiling)  # noqa: S311 - spreads load, guards no secret


def parse_retry_after_seconds(header_value: str | None, default: float = 60.0) -> float:
    """Return the seconds of a `Retry-After` header; `default` where it is absent, a date or no number."""
    try:
        seconds = float(header_value or "")
    except ValueError:
        return default
    return max(0.0, seconds) if isfinite(seconds) else default


def summarize_response_body(text: str, max_length: int = 300) -> str:
    """Return a body on one line for a log, cut at `max_length` characters with its whole length."""
    line = " ".join(text.split())
    if len(line) <= max_length:
        return line
    return f"{line[:max_length]}... [truncated, {len(text)} chars total]"


def fire_error_hook(
    on_error: Callable[[str, BaseException, dict[str, Any]], None] | None,
    logger: logging.Logger,
    stage: str,
    exc: BaseException,
    context: dict[str, Any],
) -> None:
    """Tell the application's hook of an error; what the hook raises is logged and goes no further."""
    if on_error is None:
        return
    try:
        on_error(stage, exc, context)
    except Exception as error:  # noqa: BLE001 - a hook of the application must not stop the agent
        logger.error("on_error hook raised while handling %r: %s", stage, error)  # noqa: TRY400 - one line is enough
