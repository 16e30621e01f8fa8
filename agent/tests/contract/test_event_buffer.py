"""The buffer that applications use by themselves, in both of its forms."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import pytest

from guard_agent.buffer import AgentConfig, BufferFullError, EventBuffer, SecurityEvent, SecurityMetric
from guard_agent.protocols import BufferProtocol, RedisHandlerProtocol

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def event(number: int) -> SecurityEvent:
    return SecurityEvent(timestamp=NOW, event_type="x", reason=str(number))


def metric(number: int) -> SecurityMetric:
    return SecurityMetric(timestamp=NOW, metric_type="error_rate", value=number)


def config(**settings: Any) -> AgentConfig:
    return AgentConfig(api_key="k" * 20, **settings)


def reasons(events: list[SecurityEvent]) -> list[str]:
    return [entry.reason for entry in events]


class Redis:
    """Keeps values in a dictionary; `fails` makes every call raise."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], Any] = {}
        self.fails = False

    def _maybe_fail(self) -> None:
        if self.fails:
            raise ConnectionError("gone")

    async def get_key(self, namespace: str, key: str) -> Any:
        self._maybe_fail()
        return self.values.get((namespace, key))

    async def set_key(self, namespace: str, key: str, value: Any, ttl: int | None = None) -> bool | None:
        self._maybe_fail()
        assert ttl == 3600
        self.values[namespace, key] = value
        return True

    async def delete(self, namespace: str, key: str) -> int | None:
        self._maybe_fail()
        return 1 if self.values.pop((namespace, key), None) is not None else 0

    async def keys(self, pattern: str) -> list[str] | None:
        self._maybe_fail()
        return [f"app:{namespace}:{key}" for namespace, key in self.values if f"{namespace}:*" == pattern]

    async def initialize(self) -> None:
        return

    def get_connection(self) -> AbstractAsyncContextManager[Any]:
        raise NotImplementedError


async def test_both_forms_and_both_sets_of_names() -> None:
    assert isinstance(EventBuffer(config()), BufferProtocol)
    assert isinstance(Redis(), RedisHandlerProtocol)
    assert EventBuffer(config(buffer_size=7)).config.buffer_size == 7
    assert (EventBuffer().config.buffer_size, EventBuffer().config.flush_interval) == (1000, 60)
    buffer = EventBuffer(max_size=2, flush_interval=9, redis_handler=Redis())
    assert (buffer.config.buffer_size, buffer.config.flush_interval) == (2, 9)
    assert EventBuffer(5).config.buffer_size == 5
    await buffer.add_event(event(1))
    assert buffer.is_full() is False
    await buffer.add_event(event(2))
    assert buffer.is_full() is True
    await buffer.add_metric(metric(1))
    assert await buffer.get_buffer_size() == 3
    events, metrics = await buffer.flush()
    assert (reasons(events), [entry.value for entry in metrics]) == (["1", "2"], [1.0])
    await buffer.add_event(event(3))
    await buffer.clear()
    assert await buffer.get_buffer_size() == 0
    with pytest.raises(ValueError, match="buffer_size"):
        EventBuffer(max_size=0)


async def test_full_and_drop_lets_the_oldest_go() -> None:
    buffer = EventBuffer(config(buffer_size=3))
    for number in range(5):
        await buffer.add_event(event(number))
    assert reasons(await buffer.flush_events()) == ["2", "3", "4"]
    stats = buffer.get_stats()
    assert (stats["events_buffered"], stats["events_flushed"], stats["events_dropped"]) == (5, 3, 2)
    assert stats["last_flush_time"] is not None


async def test_full_and_raise_raises() -> None:
    buffer = EventBuffer(config(buffer_size=1, buffer_overflow_policy="raise"))
    await buffer.add_event(event(0))
    with pytest.raises(BufferFullError, match="maxlen=1"):
        await buffer.add_event(event(1))
    await buffer.add_metric(metric(0))
    assert reasons(await buffer.flush_events()) == ["0"]


async def test_full_and_block_waits_for_room() -> None:
    buffer = EventBuffer(config(buffer_size=1, buffer_overflow_policy="block"))
    await buffer.add_event(event(0))
    waiting = [asyncio.create_task(buffer.add_event(event(number))) for number in (1, 2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    taken = []
    while not all(task.done() for task in waiting):
        taken += reasons(await buffer.flush_events())
        await asyncio.sleep(0)
    taken += reasons(await buffer.flush_events())
    assert taken == ["0", "1", "2"]
    assert buffer.get_stats()["events_dropped"] == 0


async def test_undelivered_items_go_back_in_front_and_never_evict_newer_ones() -> None:
    buffer = EventBuffer(config(buffer_size=3))
    for number in range(3):
        await buffer.add_event(event(number))
    events, keys = await buffer.flush_events_with_keys()
    assert keys == ["", "", ""]
    await buffer.add_event(event(9))
    assert await buffer.requeue_events_in_memory(events, ["a", "b", "c"]) == ["c"]
    again, keys = await buffer.flush_events_with_keys()
    assert (reasons(again), keys) == (["0", "1", "9"], ["a", "b", ""])
    assert buffer.get_stats()["events_dropped"] == 1


async def test_copies_in_redis_survive_a_restart_and_go_with_the_delivery() -> None:
    redis = Redis()
    first = EventBuffer(config())
    await first.initialize_redis(redis)
    await first.add_event(event(1))
    await first.add_metric(metric(2))
    await first.stop()
    assert sorted(namespace for namespace, _ in redis.values) == ["agent_events", "agent_metrics"]

    redis.values["agent_events", "event_0_broken"] = "no json"
    second = EventBuffer(config())
    await second.initialize_redis(redis)
    events, keys = await second.flush_events_with_keys()
    assert reasons(events) == ["1"]
    assert len(redis.values) == 3
    await second.confirm_event_redis_keys(keys)
    assert [entry.value for entry in await second.flush_metrics()] == [2.0]
    assert list(redis.values) == [("agent_events", "event_0_broken")]


async def test_copies_that_fail_are_counted_and_cost_nothing_else() -> None:
    redis = Redis()
    buffer = EventBuffer(config())
    await buffer.initialize_redis(redis)
    redis.fails = True
    await buffer.add_event(event(1))
    assert reasons(await buffer.flush_events()) == ["1"]
    stats = buffer.get_stats()
    assert (stats["redis_persist_failures"], stats["durability_degraded"]) == (1, True)
    redis.fails = False
    await buffer.add_event(event(2))
    await buffer.clear_buffer()
    await buffer.stop()
    assert buffer.get_stats()["durability_degraded"] is False


async def test_a_redis_that_fails_from_the_start_is_counted_and_its_items_are_found_later() -> None:
    redis = Redis()
    redis.values["agent_events", "event_1_a"] = event(1).model_dump_json()
    redis.fails = True
    buffer = EventBuffer(config())
    await buffer.initialize_redis(redis)
    assert buffer.get_stats()["durability_degraded"] is True
    await buffer.confirm_event_redis_keys(["event_1_a"])
    redis.fails = False
    await buffer.initialize_redis(redis)
    assert reasons(await buffer.flush_events()) == ["1"]
    assert redis.values == {}


async def test_the_callback_is_awaited_at_the_watermark_and_at_intervals() -> None:
    called = asyncio.Event()
    calls: list[int] = []

    async def flush() -> None:
        calls.append(await buffer.get_buffer_size())
        called.set()
        raise RuntimeError("the callback's own trouble")

    buffer = EventBuffer(config(buffer_size=5, flush_interval=1), flush)
    for number in range(4):
        await buffer.add_event(event(number))
    await asyncio.wait_for(called.wait(), 10)
    assert calls == [4]
    called.clear()
    await buffer.start()
    assert buffer.get_stats()["auto_flush_running"] is True
    await asyncio.wait_for(called.wait(), 30)
    await buffer.stop()
    await buffer.stop()
    assert calls[:2] == [4, 4]
    assert buffer.get_stats()["auto_flush_running"] is False
