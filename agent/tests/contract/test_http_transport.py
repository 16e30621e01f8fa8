"""The transport that applications use by themselves, in both of its forms, against a scripted collector."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.tests.app.sink import Request, Script, Sink
from guard_agent.encryption import EncryptionConfigError, PayloadEncryptor
from guard_agent.models import AgentConfig, AgentStatus, EventBatch, SecurityEvent, SecurityMetric
from guard_agent.protocols import TransportProtocol
from guard_agent.transport import HTTPTransport, TransportStats

NOW = datetime(2026, 11, 30, tzinfo=UTC)
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def event(reason: str, **more: Any) -> SecurityEvent:
    return SecurityEvent(timestamp=NOW, event_type="access_denied", reason=reason, **more)


def metric(endpoint: str) -> SecurityMetric:
    return SecurityMetric(timestamp=NOW, metric_type="error_rate", value=1, endpoint=endpoint)


def transport_to(sink: Sink, **settings: Any) -> HTTPTransport:
    defaults = {
        "retry_attempts": 2,
        "backoff_factor": 0.01,
        "timeout": 5,
        "install_id": "iid",
        "project_id": "shop",
    }
    return HTTPTransport(AgentConfig(api_key="k" * 20, endpoint=sink.url, **defaults | settings))


async def test_both_forms_and_both_sets_of_names(sink: Sink) -> None:
    transport = HTTPTransport(
        backend_url=sink.url, api_key="k" * 20, timeout=5, max_retries=1, backoff_factor=0.1, rate_limit_requests=50,
        rate_limit_period=10.0,
    )  # fmt: skip
    config = transport.config
    assert (config.endpoint, config.timeout, config.retry_attempts, config.backoff_factor) == (
        sink.url,
        5,
        1,
        0.1,
    )
    assert (transport.rate_limiter.max_calls, transport.rate_limiter.time_window) == (50, 10.0)
    assert isinstance(transport, TransportProtocol)
    await transport.initialize()
    assert await transport.test_connection() is True
    assert await transport.send_heartbeat() is True
    batch = EventBatch(
        project_id="p", batch_id="b", created_at=NOW, events=[event("a")], metrics=[metric("/m")]
    )
    assert await transport.send_batch(batch) is True
    sink.rules = {"rule_id": "r", "version": 4}
    rules = await transport.update_rules()
    assert rules is not None
    assert (rules.rule_id, rules.version) == ("r", 4)
    assert (sink.names(), sink.names("metrics")) == (["a"], ["/m"])
    stats = transport.get_stats()
    assert isinstance(stats, TransportStats)
    assert (stats["requests_sent"], stats.requests_failed, stats.session_closed) == (5, 0, False)
    with pytest.raises(AttributeError):
        stats.no_such_figure  # noqa: B018 - reading it is the test
    await transport.close()
    assert transport.get_stats().session_closed is True
    assert await transport.send_events([event("after")]) is True
    await transport.close()


async def test_a_request_has_the_released_form(sink: Sink) -> None:
    transport = transport_to(sink)
    assert await transport.send_events([]) is True
    assert sink.requests == []
    assert await transport.send_events([event("a", metadata={"headers": {"Cookie": "secret"}})]) is True
    status = AgentStatus(
        timestamp=NOW, status="healthy", uptime=1.0, events_sent=1, events_failed=0, buffer_size=0
    )
    assert await transport.send_status(status) is True
    await transport.close()
    events, told = sink.requests
    assert (events.method, events.path) == ("POST", "/api/v1/events")
    wanted = {"x-api-key": "k" * 20, "x-agent-install-id": "iid", "x-project-id": "shop"}
    assert wanted.items() <= events.headers.items()
    assert {
        "project_id",
        "events",
        "metrics",
        "batch_id",
        "created_at",
        "compressed",
        "agent_version",
    } <= set(events.document)
    assert b"secret" not in events.body
    assert (told.path, told.document["status"]) == ("/api/v1/status", "healthy")


async def test_what_is_large_goes_in_several_requests(sink: Sink) -> None:
    transport = transport_to(sink, max_batch_items=10)
    assert await transport.send_events([event(str(number)) for number in range(25)]) is True
    assert [len(batch.document["events"]) for batch in sink.batches] == [10, 10, 5]
    await transport.close()


@pytest.mark.parametrize("status", [413, 422, 400])
async def test_what_is_refused_costs_only_the_item_that_is_refused(sink: Sink, status: int) -> None:
    told: list[str] = []

    def choose(request: Request) -> Script | None:
        poisoned = any(item["reason"] == "poison" for item in request.document.get("events", ()))
        return Script(status, body=b'{"code":"bad_item"}') if poisoned else None

    sink.choose = choose
    transport = transport_to(sink, on_error=lambda stage, error, _context: told.append(f"{stage} {error}"))
    names = [str(number) for number in range(8)]
    assert await transport.send_events([event("poison" if name == "5" else name) for name in names]) is True
    assert sorted(sink.names()) == [name for name in names if name != "5"]
    assert len(sink.batches) <= 2 * 3 + 1
    assert len(told) == 1
    assert told[0].startswith("transport_send Permanent client error")
    await transport.close()


@pytest.mark.parametrize(
    ("scripts", "sent", "asked"),
    [
        ([Script(500), Script(502)], True, 3),
        ([Script(500)] * 9, False, 3),
        ([Script(reset=True)], True, 2),
        ([Script(429, {"Retry-After": "0"}), Script(503, {"Retry-After": "0"})], True, 3),
        ([Script(429, {"Retry-After": "600"})], False, 1),
        ([Script(401)], False, 1),
        ([Script(403)], False, 1),
        ([Script(404)], False, 1),
        ([Script(302, {"Location": "http://127.0.0.1:1/"})], False, 1),
        ([Script(200, body=b'{"success":false}')] * 9, False, 3),
        ([Script(200, body=b"{}")], True, 1),
        ([Script(202, body=b"")], True, 1),
        ([Script(409)], True, 2),
    ],
)
async def test_answers(sink: Sink, scripts: list[Script], asked: int, *, sent: bool) -> None:
    sink.script = list(scripts)
    transport = transport_to(sink)
    assert await transport.send_events([event("a")]) is sent
    assert len(sink.batches) == asked
    bodies = {request.body for request in sink.batches}
    assert len(bodies) == (2 if scripts[0].status == 409 else 1)
    await transport.close()


async def test_an_open_breaker_sends_nothing(sink: Sink) -> None:
    sink.script = [Script(500)] * 99
    transport = transport_to(sink, retry_attempts=9)
    assert await transport.send_events([event("a")]) is False
    assert len(sink.batches) == 5
    assert transport.get_stats().circuit_breaker_state == "OPEN"
    assert await transport.send_events([event("a")]) is False
    assert len(sink.batches) == 5
    await transport.close()


async def test_a_used_up_limit_sends_nothing(sink: Sink) -> None:
    transport = HTTPTransport(
        backend_url=sink.url, api_key="k" * 20, timeout=1, rate_limit_requests=1, rate_limit_period=600.0
    )
    assert [await transport.send_events([event(name)]) for name in ("a", "b")] == [True, False]
    assert sink.names() == ["a"]
    await transport.close()


@pytest.mark.parametrize("body", [b"{}", b"", b"null", b"[]", b"<html>", b'{"version":"x"}'])
async def test_rules_that_are_none(sink: Sink, body: bytes) -> None:
    sink.choose = lambda _request: Script(200, body=body)
    transport = transport_to(sink)
    assert await transport.fetch_dynamic_rules() is None
    sink.choose = lambda _request: Script(500)
    assert await transport.fetch_dynamic_rules() is None
    assert await transport.test_connection() is False
    await transport.close()


async def test_encryption_covers_everything_or_nothing_is_sent(sink: Sink) -> None:
    transport = transport_to(sink, project_encryption_key=KEY)
    assert await transport.send_events([event("hidden")]) is True
    (batch,) = sink.batches
    assert batch.path == "/api/v1/events/encrypted"
    opened = PayloadEncryptor(KEY).decrypt(batch.document["encrypted_payload"])
    assert [item["reason"] for item in opened["events"]] == ["hidden"]
    await transport.close()
    broken = transport_to(sink, project_encryption_key="short")
    with pytest.raises(EncryptionConfigError):
        await broken.send_events([event("plain")])
    assert len(sink.batches) == 1
