# This module belongs to guardhouse-agent.
"""A buffer that an application uses by itself: events and metrics wait here until they are taken out.

The handler of this library has queues of its own and needs no such buffer; this one keeps the released meaning: its
`buffer_size` is a capacity. It belongs to one event loop.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from guard_agent.buffer_copies import EVENTS, METRICS, RedisCopies
from guard_agent.buffer_queue import BoundedQueue, Item, Waiting
from guard_agent.config import AgentConfig
from guard_agent.exceptions import BufferFullError
from guard_agent.models import SecurityEvent, SecurityMetric
from guard_agent.protocols import RedisHandlerProtocol

__all__ = [
    "AgentConfig",
    "BufferFullError",
    "EventBuffer",
    "RedisHandlerProtocol",
    "SecurityEvent",
    "SecurityMetric",
]

_logger = logging.getLogger("guard_agent")
FlushCallback = Callable[[], Awaitable[Any]]


class EventBuffer:
    """Holds up to `buffer_size` events and as many metrics, with copies in Redis once a handler was given.

    Two ways to make one: `EventBuffer(config, flush_callback)`, or `EventBuffer(max_size=1000, flush_interval=60,
    redis_handler=None)`. `flush_callback` is awaited every `flush_interval` seconds while something waits, and as soon
    as `high_watermark_ratio` of the capacity is taken.
    """

    def __init__(
        self,
        config: AgentConfig | int | None = None,
        flush_callback: FlushCallback | None = None,
        *,
        max_size: int | None = None,
        flush_interval: int | None = None,
        redis_handler: RedisHandlerProtocol | None = None,
    ) -> None:
        if isinstance(config, int):
            config, max_size = None, config
        settings = config or AgentConfig(api_key="", buffer_size=1000, flush_interval=60)
        changes = {"buffer_size": max_size, "flush_interval": flush_interval}
        self.config = settings.model_copy(
            update={name: value for name, value in changes.items() if value is not None}
        )
        if self.config.buffer_size < 1:
            raise ValueError("buffer_size must be greater than 0")
        policy = self.config.buffer_overflow_policy
        self._events: BoundedQueue[SecurityEvent] = BoundedQueue("Event", self.config.buffer_size, policy)
        self._metrics: BoundedQueue[SecurityMetric] = BoundedQueue("Metric", self.config.buffer_size, policy)
        self._copies = RedisCopies()
        self._given_redis = redis_handler
        self._callback = flush_callback
        self._calls: set[asyncio.Task[None]] = set()
        self._auto_flush: asyncio.Task[None] | None = None
        self.last_flush_time: float | None = None

    async def initialize_redis(self, redis_handler: RedisHandlerProtocol) -> None:
        """Keep copies in Redis from now on, and take in the items whose copies are there from before."""
        events, metrics = await self._copies.connect(redis_handler)
        self._events.put_back(events)
        self._metrics.put_back(metrics)

    async def add_event(self, event: SecurityEvent) -> None:
        """Add an event; where the buffer is full, do what `buffer_overflow_policy` says."""
        await self._add(self._events, event, EVENTS)

    async def add_metric(self, metric: SecurityMetric) -> None:
        """Add a metric; where the buffer is full, do what `buffer_overflow_policy` says."""
        await self._add(self._metrics, metric, METRICS)

    async def flush(self) -> tuple[list[SecurityEvent], list[SecurityMetric]]:
        """Take out all events and all metrics."""
        return await self.flush_events(), await self.flush_metrics()

    async def flush_events(self) -> list[SecurityEvent]:
        """Take out all events and delete their copies."""
        events, keys = await self.flush_events_with_keys()
        await self.confirm_event_redis_keys(keys)
        return events

    async def flush_metrics(self) -> list[SecurityMetric]:
        """Take out all metrics and delete their copies."""
        metrics, keys = await self.flush_metrics_with_keys()
        await self.confirm_metric_redis_keys(keys)
        return metrics

    async def flush_events_with_keys(self) -> tuple[list[SecurityEvent], list[str]]:
        """Take out all events with the keys of their copies (`""` where there is none); the copies stay."""
        return await self._take(self._events)

    async def flush_metrics_with_keys(self) -> tuple[list[SecurityMetric], list[str]]:
        """Take out all metrics with the keys of their copies (`""` where there is none); the copies stay."""
        return await self._take(self._metrics)

    async def confirm_event_redis_keys(self, keys: list[str]) -> None:
        """Delete the copies of events that were delivered."""
        await self._copies.delete(EVENTS, keys)

    async def confirm_metric_redis_keys(self, keys: list[str]) -> None:
        """Delete the copies of metrics that were delivered."""
        await self._copies.delete(METRICS, keys)

    async def requeue_events_in_memory(self, events: list[SecurityEvent], keys: list[str]) -> list[str]:
        """Put undelivered events back in front; return the keys of the newest that find no room beside newer ones."""
        return self._put_back(self._events, events, keys)

    async def requeue_metrics_in_memory(self, metrics: list[SecurityMetric], keys: list[str]) -> list[str]:
        """Put undelivered metrics back in front; return the keys of the newest that find no room beside newer ones."""
        return self._put_back(self._metrics, metrics, keys)

    async def get_buffer_size(self) -> int:
        """Return how many events and metrics wait."""
        return len(self._events) + len(self._metrics)

    def is_full(self) -> bool:
        """Tell whether no further event or no further metric fits."""
        return self._events.is_full or self._metrics.is_full

    async def clear_buffer(self) -> None:
        """Drop everything that waits, and its copies."""
        _, event_keys = await self._events.take_all()
        _, metric_keys = await self._metrics.take_all()
        await self.confirm_event_redis_keys(event_keys)
        await self.confirm_metric_redis_keys(metric_keys)

    async def clear(self) -> None:
        """Do as `clear_buffer`."""
        await self.clear_buffer()

    async def start(self) -> None:
        """Do as `start_auto_flush`."""
        await self.start_auto_flush()

    async def stop(self) -> None:
        """Do as `stop_auto_flush`; what waits stays."""
        await self.stop_auto_flush()

    async def start_auto_flush(self) -> None:
        """Begin to await the flush callback every `flush_interval` seconds while something waits."""
        await self._connect_given_redis()
        if self._auto_flush is None:
            self._auto_flush = asyncio.create_task(self._flush_in_intervals())

    async def stop_auto_flush(self) -> None:
        """End that, and wait for what is under way."""
        task, self._auto_flush = self._auto_flush, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._copies.settle()

    def get_stats(self) -> dict[str, Any]:
        """Return counts since the buffer was made, and how much waits now."""
        return {
            "events_buffered": self._events.added,
            "metrics_buffered": self._metrics.added,
            "events_flushed": self._events.taken,
            "metrics_flushed": self._metrics.taken,
            "events_dropped": self._events.dropped,
            "metrics_dropped": self._metrics.dropped,
            "current_event_buffer_size": len(self._events),
            "current_metric_buffer_size": len(self._metrics),
            "redis_persist_failures": self._copies.failures,
            "durability_degraded": self._copies.degraded,
            "last_flush_time": self.last_flush_time,
            "auto_flush_running": self._auto_flush is not None,
        }

    async def _add(self, queue: BoundedQueue[Item], item: Item, namespace: str) -> None:
        await self._connect_given_redis()
        entry = Waiting(item)
        gone = await queue.add(entry)
        self._copies.keep(entry)
        if gone is not None:
            await self._copies.delete(namespace, [gone.key])
        if len(queue) >= max(1, int(queue.capacity * self.config.high_watermark_ratio)):
            self._call_back()

    async def _take(self, queue: BoundedQueue[Item]) -> tuple[list[Item], list[str]]:
        await self._copies.settle()
        self.last_flush_time = time.time()
        return await queue.take_all()

    def _put_back(self, queue: BoundedQueue[Item], items: list[Item], keys: list[str]) -> list[str]:
        padded = [*keys, *[""] * (len(items) - len(keys))]
        left = queue.put_back([Waiting(item, key) for item, key in zip(items, padded, strict=False)])
        return [entry.key for entry in left if entry.key]

    async def _connect_given_redis(self) -> None:
        """Connect to the handler that the constructor was given, at the first call that may wait."""
        redis, self._given_redis = self._given_redis, None
        if redis is not None:
            await self.initialize_redis(redis)

    def _call_back(self) -> None:
        if self._callback is None or len(self._calls) >= max(1, self.config.max_concurrent_flushes):
            return
        call = asyncio.create_task(self._await_callback(self._callback))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _await_callback(self, callback: FlushCallback) -> None:
        try:
            await callback()
        except Exception:
            _logger.exception("The flush callback raised; what waits is tried again at the next flush")

    async def _flush_in_intervals(self) -> None:
        while True:
            await asyncio.sleep(self.config.flush_interval)
            if await self.get_buffer_size():
                self._call_back()
