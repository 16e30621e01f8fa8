"""The 21 rows in which the API overview and the released package differ: what this library does, one test a row."""

import asyncio
import random
import threading
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import guard_agent
from agent.tests.app.conftest import MakeAgent, adds_up, config_for, event
from agent.tests.app.sink import Request, Script, Sink, wait_for
from guard_agent import (
    AgentConfig,
    AgentStatus,
    EventBuffer,
    EventType,
    GuardMiddleware,
    HTTPTransport,
    MetricType,
    SecurityEvent,
    SecurityMetric,
    TransportStats,
)
from guard_agent import config as config_module
from guard_agent._pipeline.breaker import Breaker
from guard_agent._pipeline.encode_body import choose_coding
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.pace import Pace
from guard_agent.client import GuardAgentHandler

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_row_01_released_names_and_defaults_and_the_other_name_of_the_endpoint() -> None:
    config = AgentConfig(api_key="k" * 20, backend_url="https://house.example")
    assert config.endpoint == config.backend_url == "https://house.example"
    assert (config.buffer_size, config.flush_interval, config.enabled) == (100, 30, True)
    with pytest.raises(ValueError, match="differ"):
        AgentConfig(api_key="k" * 20, backend_url="https://a", endpoint="https://b")


def test_row_02_a_transport_by_config_or_by_keywords() -> None:
    config = AgentConfig(api_key="k" * 20)
    assert HTTPTransport(config).config is config
    transport = HTTPTransport(
        backend_url="https://house.example",
        api_key="k" * 20,
        timeout=3,
        max_retries=4,
        backoff_factor=0.5,
        rate_limit_requests=5,
        rate_limit_period=6,
    )
    assert (transport.config.endpoint, transport.config.retry_attempts) == ("https://house.example", 4)
    assert (transport.rate_limiter.max_calls, transport.rate_limiter.time_window) == (5, 6)


async def test_row_03_a_buffer_by_config_or_by_keywords() -> None:
    assert EventBuffer(AgentConfig(api_key="k" * 20), None).config.buffer_size == 100
    assert EventBuffer(max_size=7, flush_interval=8, redis_handler=None).config.flush_interval == 8


async def test_row_04_both_sets_of_names_of_the_buffer() -> None:
    buffer = EventBuffer(max_size=1)
    await buffer.add_event(SecurityEvent(timestamp=NOW, event_type="x"))
    assert buffer.is_full()
    events, metrics = await buffer.flush()
    assert (len(events), metrics) == (1, [])
    assert await buffer.flush_events() == []
    assert await buffer.flush_metrics() == []
    await buffer.clear()
    await buffer.clear_buffer()


async def test_row_05_both_sets_of_names_of_the_transport(sink: Sink) -> None:
    transport = HTTPTransport(config_for(sink))
    for name in ("send_events", "send_metrics", "send_status", "fetch_dynamic_rules"):
        assert callable(getattr(transport, name))
    assert await transport.send_heartbeat() is True
    assert await transport.test_connection() is True
    assert await transport.update_rules() is None
    stats = transport.get_stats()
    assert isinstance(stats, TransportStats)
    assert stats.requests_sent == stats["requests_sent"] == 3
    await transport.close()


def test_row_06_running_and_pointed_elsewhere(sink: Sink, native_sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    assert agent.is_running() is True
    agent.send_event(event("first"))
    agent.flush_buffer()
    agent.update_config(agent.config.model_copy(update={"endpoint": native_sink.url}))
    agent.send_event(event("second"))
    agent.close(30.0)
    assert (sink.names(), native_sink.names(), agent.is_running()) == (["first"], ["second"], False)


def test_row_07_rules_or_none(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    assert agent.get_dynamic_rules() is None


def test_row_08_an_event_by_its_other_names() -> None:
    made = SecurityEvent(
        timestamp=NOW,
        event_type=EventType.IP_BANNED,
        source_ip="203.0.113.7",
        description="why",
        metadata=None,
    )
    assert (made.source_ip, made.description) == (made.ip_address, made.reason) == ("203.0.113.7", "why")
    wire = made.model_dump(mode="json")
    assert (wire["ip_address"], wire["reason"], wire["event_type"], wire["metadata"]) == (
        "203.0.113.7",
        "why",
        "ip_banned",
        {},
    )
    assert "source_ip" not in wire


def test_row_09_a_metric_by_its_other_names() -> None:
    made = SecurityMetric(
        timestamp=NOW, metric_type=MetricType.ERROR_RATE, value=1, metadata={"n": 5, "s": "x"}
    )
    assert made.tags == made.metadata == {"n": "5", "s": "x"}
    assert made.model_dump(mode="json") | {"idempotency_key": ""} == {
        "idempotency_key": "",
        "timestamp": "2026-11-30T00:00:00Z",
        "metric_type": "error_rate",
        "value": 1.0,
        "endpoint": None,
        "tags": {"n": "5", "s": "x"},
    }
    with pytest.raises(ValueError, match="metric_type"):
        SecurityMetric(timestamp=NOW, metric_type="unheard_of", value=1)


def test_row_10_a_status_by_its_other_names() -> None:
    status = AgentStatus(
        timestamp=NOW,
        status="healthy",
        uptime=2.0,
        events_sent=3,
        events_failed=0,
        buffer_size=0,
        last_flush=NOW,
    )
    assert (status.is_running, status.events_processed, status.last_flush_time) == (True, 3, NOW)
    assert not {"is_running", "events_processed", "last_flush_time"} & set(status.model_dump())


def test_row_11_a_middleware_with_an_agent_made_before_any_loop(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, start=False, shutdown_timeout=30.0)
    app = FastAPI()
    app.add_middleware(GuardMiddleware, agent=agent)

    async def visit() -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            status = (await client.get("/nothing")).status_code
        await agent.stop()
        return status

    assert asyncio.run(visit()) == 404
    assert {metric["endpoint"] for metric in sink.stored["metrics"]} == {"(unmatched)"}


def test_row_12_one_class_with_and_without_a_loop(sink: Sink) -> None:
    config = config_for(sink, durability="memory")
    made = guard_agent.guard_agent(config, name="row-12")

    async def on_a_loop() -> Any:
        return guard_agent.guard_agent(config, name="row-12")

    assert asyncio.run(on_a_loop()) is made
    assert type(made) is GuardAgentHandler


def test_row_13_full_jitter_below_a_minute() -> None:
    lane = Lane("events", random.Random(7))
    drawn = [lane.delay(tries, 1.0) for tries in (30,) * 500]
    assert min(drawn) < 5
    assert 55 < max(drawn) <= 60
    assert max(lane.delay(1, 1.0) for _ in range(500)) <= 2.0


def test_row_14_one_probe_while_half_open() -> None:
    breaker = Breaker(random.Random(7))
    for _ in range(5):
        breaker.fail(0.0)
    assert breaker.wait(0.0) > 0
    assert breaker.wait(60.0) == 0.0
    assert breaker.state == "HALF_OPEN"
    breaker.fail(60.0)
    assert breaker.state == "OPEN"


def test_row_15_the_pace_follows_the_server() -> None:
    pace = Pace()
    first = pace.rate
    pace.slow_down()
    assert pace.rate == first / 2
    for second in range(100):
        pace.clean(1.0 + second)
    assert pace.rate == 50.0
    pace.obey(200.0, 0, 30.0)
    assert pace.wait(200.0) == 30.0


@pytest.mark.parametrize(
    ("wanted", "enabled", "native", "coding"),
    [
        ("auto", True, False, "gzip"),
        ("auto", True, True, "zstd"),
        ("gzip", True, True, "gzip"),
        ("none", True, True, "none"),
        ("auto", False, True, "none"),
    ],
)
def test_row_16_codings(wanted: str, coding: str, *, enabled: bool, native: bool) -> None:
    assert choose_coding(wanted, enabled=enabled, native=native) == coding
    assert AgentConfig(api_key="k" * 20).http2 is False


def test_row_17_sampling_is_counted(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, sample_rates={"access_denied": 0.0})
    for number in range(10):
        agent.send_event(event(number))
    agent.send_event(event("kept", "penetration_attempt"))
    agent.close(30.0)
    assert sink.names() == ["kept"]
    assert agent.ledger()["events"]["dropped"]["sampled"] == 10


def test_row_18_sixteen_threads_capture_at_once(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink)
    barrier = threading.Barrier(16)

    def capture(thread: int) -> None:
        barrier.wait(10)
        for number in range(50):
            agent.send_event(event(f"{thread}-{number}"))

    threads = [threading.Thread(target=capture, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agent.flush_buffer()
    wait_for(lambda: len(sink.names()) == 800)
    assert sorted(sink.names()) == sorted(
        f"{thread}-{number}" for thread in range(16) for number in range(50)
    )
    assert adds_up(agent.ledger())


def test_row_19_batches_shrink_where_a_server_says_413(sink: Sink, make_agent: MakeAgent) -> None:
    def choose(request: Request) -> Script | None:
        return Script(413) if len(request.body) > 30_000 and request.path == "/api/v1/events" else None

    sink.choose = choose
    agent = make_agent(sink, compression="none")
    for number in range(300):
        agent.send_event(event(number, user_agent="u" * 400))
    agent.flush_buffer()
    wait_for(lambda: len(sink.names()) == 300)
    assert sorted(sink.names(), key=int) == [str(number) for number in range(300)]


def test_row_20_an_end_preserves_what_was_captured(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, flush_interval=3600, shutdown_timeout=30.0)
    for number in range(20):
        agent.send_event(event(number))
    agent.stop()
    assert len(sink.names()) == 20


def test_row_21_the_released_endpoint_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_module, "_warned", set())
    assert AgentConfig(api_key="gh_live_0123456789").endpoint == "https://api.guard-core.com"
    assert len(caplog.records) == 1
