"""Copies in Redis of what waits in an `EventBuffer`, so that a restart does not lose it.

Writing a copy never holds the application up: it is a task of its own, given up after a second. Keys have the released
form `event_<ns>_<hex>` below `agent_events` and `metric_<ns>_<hex>` below `agent_metrics`.
"""

import asyncio
import json
import logging
import secrets
import time
from typing import Any

from pydantic import ValidationError

from guard_agent.buffer_queue import Waiting
from guard_agent.models import SecurityEvent, SecurityMetric
from guard_agent.protocols import RedisHandlerProtocol

_logger = logging.getLogger("guard_agent")
EVENTS, METRICS = "agent_events", "agent_metrics"
_LIFE_SECONDS = 3600
_PATIENCE_SECONDS = 1.0
_MOST_UNDER_WAY = 1000

AnyItem = SecurityEvent | SecurityMetric


class RedisCopies:
    """Writes, finds and deletes the copies; without a handler it does nothing."""

    def __init__(self) -> None:
        self.failures = 0
        self.degraded = False
        self._redis: RedisHandlerProtocol | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def connect(
        self, redis: RedisHandlerProtocol
    ) -> tuple[list[Waiting[SecurityEvent]], list[Waiting[SecurityMetric]]]:
        """Use `redis` from now on; return what was left there before."""
        self._redis = redis
        return await self._left(EVENTS, SecurityEvent), await self._left(METRICS, SecurityMetric)

    def keep(self, entry: Waiting[Any]) -> None:
        """Begin to write the copy of an item; its key is set once the copy is there."""
        if self._redis is None:
            return
        if len(self._under_way) >= _MOST_UNDER_WAY:
            self._fail("too many copies are under way")
            return
        task = asyncio.create_task(self._write(self._redis, entry))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Wait for the copies that are being written."""
        if self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def delete(self, namespace: str, keys: list[str]) -> None:
        """Delete copies; one that stays is read again by a later process."""
        if self._redis is None:
            return
        for key in filter(None, keys):
            try:
                await asyncio.wait_for(self._redis.delete(namespace, key), _PATIENCE_SECONDS)
            except Exception as error:  # noqa: BLE001 - the application's handler may raise anything
                self._fail(str(error) or type(error).__name__)

    async def _write(self, redis: RedisHandlerProtocol, entry: Waiting[Any]) -> None:
        of_event = isinstance(entry.item, SecurityEvent)
        namespace = EVENTS if of_event else METRICS
        key = f"{'event' if of_event else 'metric'}_{time.time_ns()}_{secrets.token_hex(4)}"
        try:
            text = entry.item.model_dump_json()
            await asyncio.wait_for(redis.set_key(namespace, key, text, _LIFE_SECONDS), _PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - as in delete; an item may not be writable either
            self._fail(str(error) or type(error).__name__)
        else:
            entry.key = key
            self.degraded = False

    async def _left(self, namespace: str, model: type[Any]) -> list[Waiting[Any]]:
        """Return the items below `namespace`, oldest first."""
        redis, found = self._redis, []
        assert redis is not None  # noqa: S101 - connect has just set it
        try:
            names = await asyncio.wait_for(redis.keys(f"{namespace}:*"), _PATIENCE_SECONDS) or []
            for key in sorted(str(name).rpartition(f"{namespace}:")[2] for name in names):
                value = await asyncio.wait_for(redis.get_key(namespace, key), _PATIENCE_SECONDS)
                if (item := _read(value, model)) is not None:
                    found.append(Waiting(item, key))
        except Exception as error:  # noqa: BLE001 - as in delete
            self._fail(str(error) or type(error).__name__)
        return found

    def _fail(self, cause: str) -> None:
        self.failures += 1
        if not self.degraded:
            _logger.warning("Copies in Redis fail; events wait in memory only: %s", cause)
        self.degraded = True


def _read(value: Any, model: type[Any]) -> Any:
    """Return the item of a copy, None for what is none."""
    try:
        return model.model_validate(json.loads(value) if isinstance(value, (str, bytes)) else value)
    except (ValidationError, ValueError, TypeError):
        return None
